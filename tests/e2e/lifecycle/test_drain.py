"""Draining: what an origin has answered reaches its visitor, however slow the path to the edge is."""

from __future__ import annotations

import asyncio

from pyconnector.edge import EdgeSettings
from pyconnector.edge.faults.relay import Faults
from tests.support.houses.house import open_house, tunnel
from tests.support.peers.raw_origin import Peer, raw_origin
from tests.support.peers.raw_visitor import RawVisitor, get

SIZE = 200_000  # below what a stream queues without waiting, and far beyond what the first round trips carry


async def test_a_response_that_is_queued_is_delivered_before_the_connection_closes(engine: str) -> None:
    """The origin is done long before the path has carried its answer: then nothing is under way, and yet all is."""

    answered = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % SIZE)
        await peer.send(bytes(SIZE))
        answered.set()

    async with raw_origin(script) as origin:
        settings = EdgeSettings(tunnels=(tunnel(),), fault_relay=True)
        rules = [{"service": f"http://127.0.0.1:{origin.port}"}]
        async with open_house(rules, engine=engine, settings=settings) as house:
            assert house.edge.relay is not None
            async with RawVisitor(house.edge.visitor_address) as visitor:
                house.edge.relay.set(Faults(delay=0.05, loss=0.02, seed=3))
                visitor.send(get())
                await answered.wait()
                while house.connector.statistics().active_requests:
                    await asyncio.sleep(0.001)
                draining = asyncio.create_task(house.connector.drain(10.0))
                response = await visitor.response()
                assert (response.status, len(response.body)) == (200, SIZE)
                loop = asyncio.get_running_loop()
                received = loop.time()
                await draining
                print(f"{engine}: closed {loop.time() - received:.2f} s after the visitor had all of it")


async def test_an_idle_connector_is_gone_at_once(engine: str) -> None:
    async with open_house([{"service": "http_status:204"}], engine=engine, connections=2) as house:
        async with RawVisitor(house.edge.visitor_address) as visitor:
            for _ in range(10):
                assert (await visitor.request(get())).status == 204
        async with asyncio.timeout(30):
            await house.connector.drain(60.0)
        assert house.connector.statistics().connected == 0
