"""Several connectors in one process, as an embedding program has them: they share nothing and take nothing."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import uuid
from dataclasses import replace

from pyconnector import Connector, Credentials
from pyconnector.edge import EdgeSettings, LocalEdge, TunnelSettings
from tests.support.houses.house import config_for
from tests.support.loop.leaks import nothing_left
from tests.support.peers.load import under_load
from tests.support.peers.raw_visitor import RawVisitor, get

NUMBERS = range(4)
IDS = [uuid.UUID(int=number + 1) for number in NUMBERS]


def tunnel(number: int) -> TunnelSettings:
    return TunnelSettings(
        account_tag="tests", tunnel_id=IDS[number], secret=b"secret %d" % number, hostnames=(f"n{number}.test",)
    )


async def test_each_serves_its_own_tunnel_and_one_that_ends_takes_no_other_along(engine: str) -> None:
    async with LocalEdge(EdgeSettings(tunnels=tuple(tunnel(number) for number in NUMBERS))) as edge:
        connectors = []
        for number in NUMBERS:
            config = config_for(edge, [{"service": f"http_status:{201 + number}"}], engine=engine, connections=2)
            credentials = Credentials(account_tag="tests", tunnel_id=IDS[number], secret=b"secret %d" % number)
            connectors.append(Connector(replace(config, credentials=credentials)))
        async with nothing_left():
            await asyncio.gather(*[connector.start() for connector in connectors])
            await asyncio.gather(*[connector.wait_ready(2) for connector in connectors])
            async with RawVisitor(edge.visitor_address) as visitor:
                for number in NUMBERS:
                    assert (await visitor.request(get("/", f"n{number}.test"))).status == 201 + number
                async with under_load(edge.visitor_address, visitors=2, host="n0.test") as load:
                    await connectors[1].drain()
                    await connectors[2].stop()
                    assert (await visitor.request(get("/", "n1.test"))).status == 530
                    assert (await visitor.request(get("/", "n2.test"))).status == 530
                    assert (await visitor.request(get("/", "n3.test"))).status == 204
                    await load.until(10)
                assert set(load.statuses) == {201}
            assert [connector.statistics().connected for connector in connectors] == [2, 0, 0, 2]
            await asyncio.gather(*[connector.stop() for connector in connectors])


async def test_the_process_is_left_alone() -> None:
    """No root logger, no signal handlers, no loop policy; and no thread is left in the end."""

    def state() -> object:
        root = logging.getLogger()
        handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
        policy = asyncio.get_event_loop_policy()
        return root.level, list(root.handlers), list(root.filters), handlers, type(policy)

    threads = threading.active_count()
    before = state()
    async with LocalEdge(EdgeSettings(tunnels=(tunnel(0),))) as edge:
        credentials = Credentials(account_tag="tests", tunnel_id=IDS[0], secret=b"secret 0")
        config = replace(config_for(edge, [{"service": "http_status:204"}]), credentials=credentials)
        async with Connector(config) as connector:
            await connector.wait_ready()
            assert state() == before
            async with RawVisitor(edge.visitor_address) as visitor:
                assert (await visitor.request(get("/", "n0.test"))).status == 204
            await connector.drain()
    assert state() == before
    await asyncio.get_running_loop().shutdown_default_executor()  # whose threads are the loop's
    assert threading.active_count() == threads
