from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_address
from typing import Any, cast

import pytest

from pyconnector.connector.active.orchestrator import Applied
from pyconnector.connector.link.rpc_streams import UDP_UNSUPPORTED, RpcStreams
from pyconnector.connector.observe.counters import Counters
from pyconnector.connector.observe.log import Log
from pyconnector.protocol.rpc.edge_rpc import (
    ConfigurationAnswered,
    EdgeRpcClient,
    UdpSessionAnswered,
    UdpSessionEndAnswered,
)
from pyconnector.protocol.streams.openings import encode_rpc_opening
from tests.connector.fakes import PathUnderTest

pytestmark = pytest.mark.usefixtures("virtual_time")


class FakeOrchestrator:
    def __init__(self) -> None:
        self.pushed: list[tuple[int, bytes]] = []

    async def apply_remote(self, version: int, config: bytes) -> Applied:
        self.pushed.append((version, config))
        await asyncio.sleep(60 if config == b"slow" else 0)
        return Applied(version) if config != b"bad" else Applied(-1, "it is bad")


class World:
    def __init__(self) -> None:
        self.orchestrator = FakeOrchestrator()
        self.counters = Counters()
        rpc = RpcStreams(
            orchestrator=cast("Any", self.orchestrator), counters=self.counters, timeout=5.0, log=Log("request")
        )
        self.under = PathUnderTest(serve_rpc=rpc.serve)

    async def call(self, make: Callable[[EdgeRpcClient], None]) -> object:
        client = EdgeRpcClient()
        make(client)
        stream = await self.under.edge.open_stream()
        stream.send_nowait(encode_rpc_opening() + client.bytes_to_send())
        while True:
            data = await stream.receive()
            assert data, "the stream ended without an answer"
            for event in client.receive_data(data):
                stream.finish()
                return event
            stream.send_nowait(client.bytes_to_send())


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.under.settled()


async def test_a_pushed_configuration_is_applied_and_answered() -> None:
    async with running() as world:
        answer = await world.call(lambda client: client.update_configuration(7, b'{"ingress":[]}'))
        assert answer == ConfigurationAnswered(7, "")
        assert world.orchestrator.pushed == [(7, b'{"ingress":[]}')]
        assert world.counters.server_call("config", "update_configuration").operations == 1


async def test_the_edge_is_answered_however_long_applying_takes() -> None:
    async with running() as world:
        answer = await world.call(lambda client: client.update_configuration(7, b"slow"))
        assert answer == ConfigurationAnswered(7, "")


async def test_a_refused_configuration_is_answered_with_the_version_in_force_and_why() -> None:
    async with running() as world:
        assert await world.call(lambda client: client.update_configuration(7, b"bad")) == ConfigurationAnswered(
            -1, "it is bad"
        )


async def test_a_udp_session_is_refused_with_a_sentence_and_its_end_accepted() -> None:
    async with running() as world:
        session = uuid.uuid4()

        def register(client: EdgeRpcClient) -> None:
            client.register_udp_session(session, ip_address("10.0.0.1"), 53, 0.0)

        answer = await world.call(register)
        assert isinstance(answer, UdpSessionAnswered)
        assert answer.error == UDP_UNSUPPORTED
        ended = await world.call(lambda client: client.unregister_udp_session(session, "bye"))
        assert isinstance(ended, UdpSessionEndAnswered)


async def test_a_stream_that_stays_silent_is_ended_after_the_timeout() -> None:
    async with running() as world:
        stream = await world.under.open(encode_rpc_opening(), finish=False)
        started = asyncio.get_running_loop().time()
        assert await stream.receive() == b""
        assert asyncio.get_running_loop().time() - started == 5.0


async def test_rpc_that_is_none_ends_its_stream_and_nothing_else() -> None:
    async with running() as world:
        stream = await world.under.open(encode_rpc_opening() + b"\xff" * 40, finish=False)
        while await stream.receive():
            pass
        assert (await world.under.ask()).body == b"hello"
