from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from pyconnector.connector.api.events import Connecting, Event, Registered, Unregistered
from pyconnector.connector.link.edge_connection import (
    EdgeConnection,
    Ended,
    EndKind,
    Identity,
    Plan,
    Services,
    features,
)
from pyconnector.connector.link.quic.session import QuicSession
from pyconnector.connector.link.session import DELIVERY_INTERVAL
from pyconnector.connector.observe.counters import Counters
from pyconnector.connector.requests.running import IDLE_LINGER
from pyconnector.protocol.rpc.registration import (
    ConnectionDetails,
    LocalConfigurationReceived,
    Refusal,
    RegisterRequested,
    Registration,
    RegistrationServer,
    UnregisterRequested,
)
from pyconnector.transport.errors import ConnectFailed, ConnectionClosed
from pyconnector.transport.memory import MemoryStream
from tests.connector.configs import ACCOUNT, SECRET, TUNNEL_ID
from tests.connector.fakes import FakeOrigin, FakeResponse, PathUnderTest, opening, read_answer

if TYPE_CHECKING:
    from pyconnector.transport.seam import Connection, Stream

pytestmark = pytest.mark.usefixtures("virtual_time")

ADDRESS = ("192.0.2.1", 7844)


class World:
    """An EdgeConnection and a scripted edge, in memory."""

    def __init__(self, *, index: int = 0, remotely_managed: bool = False, origin: FakeOrigin | None = None) -> None:
        self.under = PathUnderTest(origin, attach=False)
        self.counters = Counters()
        self.events: list[Event] = []
        self.requests: list[object] = []
        self.refusal: Refusal | None = None
        self.silent = False
        "The edge answers nothing."
        self.configurations = True
        self.remotely_managed = remotely_managed
        self.make_datagrams: Any = None

        async def local_configuration(flags: object) -> bytes:
            return b'{"ingress":[]}'

        orchestrator = SimpleNamespace(local_configuration=local_configuration)
        from pyconnector.connector.config import Credentials

        services = Services(
            identity=Identity(
                credentials=Credentials(account_tag=ACCOUNT, tunnel_id=TUNNEL_ID, secret=SECRET),
                client_id=uuid.uuid4(),
                version="1",
                arch="linux_amd64",
            ),
            dial=self.dial,
            orchestrator=cast("Any", orchestrator),
            counters=self.counters,
            emit=self.events.append,
        )
        self.attempt = EdgeConnection(Plan(index=index, address=ADDRESS, previous_attempts=3), services)
        self.control: Stream
        self.server = RegistrationServer()

    async def dial(self, plan: Plan) -> QuicSession:
        return QuicSession(self.under.connection, self.under.streams, self.make_datagrams)

    async def edge(self) -> None:
        """Answer on the control stream until it ends."""
        self.control = await self.under.edge.accept_stream()
        try:
            while data := await self.control.receive():
                for event in self.server.receive_data(data):
                    self.requests.append(event)
                    self.answer(event)
                self.control.send_nowait(self.server.bytes_to_send())
        except ConnectionClosed:
            pass

    def answer(self, event: object) -> None:
        if self.silent:
            return
        if isinstance(event, RegisterRequested):
            if self.refusal is not None:
                self.server.refuse(self.refusal)
            else:
                self.server.accept(
                    ConnectionDetails(
                        connection_id=uuid.uuid4(), location="LHR", remotely_managed=self.remotely_managed
                    )
                )
        elif isinstance(event, LocalConfigurationReceived) and self.configurations:
            self.server.acknowledge_local_configuration()
        elif isinstance(event, UnregisterRequested):
            self.server.acknowledge_unregister()

    async def registered(self) -> None:
        async with asyncio.timeout(30):
            while not any(isinstance(event, Registered) for event in self.events):
                await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def running(**options: Any) -> AsyncIterator[World]:
    world = World(**options)
    edge = asyncio.create_task(world.edge())
    yield world
    world.under.edge.close()
    await edge


async def start(world: World) -> asyncio.Task[Ended]:
    task = asyncio.create_task(world.attempt.run())
    await world.registered()
    return task


async def test_registration_carries_who_we_are_and_serving_begins() -> None:
    async with running() as world:
        task = await start(world)
        await asyncio.sleep(0.1)
        request = cast("RegisterRequested", world.requests[0]).registration
        assert (request.account_tag, request.tunnel_secret, request.tunnel_id) == (ACCOUNT, SECRET, TUNNEL_ID)
        assert (request.connection_index, request.previous_attempts, request.arch) == (0, 3, "linux_amd64")
        assert request.origin_local_ip == bytes(10) + b"\xff\xff" + bytes([192, 0, 2, 1])
        assert world.control.stream_id == 0
        assert isinstance(world.events[0], Connecting)
        assert (await world.under.ask()).body == b"hello"
        assert world.counters.registrations == 1
        world.under.edge.close(reason="bye")
        ended = await task
        assert (ended.kind, ended.reason) == (EndKind.LOST, "bye")


async def test_datagrams_are_those_of_the_features_that_were_registered() -> None:
    made: list[object] = []

    def make(connection: Connection, names: object) -> Any:
        made.append(names)
        return SimpleNamespace(receive=lambda data: None, close=lambda: None)

    async with running() as world:
        world.make_datagrams = make
        identity = world.attempt.services.identity
        identity.features = ("before",)
        task = await start(world)
        identity.features = ("afterwards",)
        world.under.edge.send_datagram(b"\x00")
        await asyncio.sleep(0.1)
        assert made == [("before",)]
        world.under.edge.close()
        await task


async def test_no_stream_is_served_before_the_registration() -> None:
    async with running() as world:
        world.silent = True
        task = asyncio.create_task(world.attempt.run())
        stream = await world.under.edge.open_stream()
        stream.send_nowait(opening(), finish=True)
        await asyncio.sleep(1)
        assert cast("FakeOrigin", world.under.origin).requests == []
        world.silent = False
        world.answer(world.requests[0])
        world.control.send_nowait(world.server.bytes_to_send())
        assert (await read_answer(stream)).body == b"hello"
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(("index", "managed", "pushes"), [(0, False, 1), (1, False, 0), (0, True, 0)])
async def test_the_local_configuration_goes_out_once_through_connection_0_of_a_local_tunnel(
    index: int, managed: bool, pushes: int
) -> None:
    async with running(index=index, remotely_managed=managed) as world:
        task = await start(world)
        await asyncio.sleep(1)
        found = [event.config for event in world.requests if isinstance(event, LocalConfigurationReceived)]
        assert found == [b'{"ingress":[]}'] * pushes
        assert world.counters.config_pushes == pushes
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_an_edge_that_does_not_take_the_configuration_is_served_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "pyconnector"):
        async with running() as world:
            world.configurations = False
            task = await start(world)
            await asyncio.sleep(6)
            assert (await world.under.ask()).body == b"hello"
            assert world.counters.config_push_errors == 1
            # What comes late answers nothing else.
            world.server.acknowledge_local_configuration()
            world.control.send_nowait(world.server.bytes_to_send())
            await world.attempt.drain(30)
            assert (await task).kind is EndKind.DRAINED
    assert "no answer within 5 s" in caplog.text


async def test_a_refusal_is_told_with_its_cause_and_its_wish() -> None:
    async with running() as world:
        world.refusal = Refusal(cause="Unauthorized: nope", retry_after=7.0, should_retry=False)
        ended = await world.attempt.run()
        assert ended.kind is EndKind.REFUSED
        assert ended.refusal == world.refusal
        assert world.counters.registrations_failed == {"server_error": 1}


async def test_a_duplicate_is_counted_as_one() -> None:
    async with running() as world:
        world.refusal = Refusal(cause="EDUPCONN", should_retry=True)
        assert (await world.attempt.run()).refusal == world.refusal
        assert world.counters.registrations_failed == {"dup_edge_conn": 1}


async def test_a_silent_edge_is_given_up_after_the_rpc_timeout() -> None:
    async with running() as world:
        world.silent = True
        ended = await world.attempt.run()
        assert ended.kind is EndKind.UNREGISTERED
        assert "no answer within 5 s" in ended.reason
        assert asyncio.get_running_loop().time() == pytest.approx(5, abs=0.1)


async def test_an_unreachable_edge_says_why() -> None:
    async def scenario(world: World) -> None:
        async def dial(plan: Plan) -> Connection:
            raise ConnectFailed("certificate signed by nobody", untrusted=True)

        world.attempt.services = dataclass_replace(world.attempt.services, dial=dial)
        ended = await world.attempt.run()
        assert (ended.kind, ended.reason, ended.untrusted) == (
            EndKind.UNREACHABLE,
            "certificate signed by nobody",
            True,
        )

    await scenario(World())


def dataclass_replace(value: Any, **changes: Any) -> Any:
    import dataclasses

    return dataclasses.replace(value, **changes)


@pytest.mark.parametrize("garbage", [b"\xff" * 64, b"GET / HTTP/1.1\r\n\r\n", b""])
async def test_an_edge_that_breaks_the_control_protocol_ends_the_connection(garbage: bytes) -> None:
    async with running() as world:
        task = await start(world)
        await asyncio.sleep(0.1)
        world.control.send_nowait(garbage, finish=not garbage)
        ended = await task
        assert ended.kind is EndKind.LOST
        assert ended.reason


# -- drain ---------------------------------------------------------------------------------------------------------


def slow_origin(seconds: float) -> FakeOrigin:
    async def serve(request: object, body: object) -> FakeResponse:
        await asyncio.sleep(seconds)
        return FakeResponse(b"late")

    return FakeOrigin(serve)


async def test_an_idle_connection_leaves_at_once() -> None:
    async with running() as world:
        task = await start(world)
        await asyncio.sleep(0.1)
        started = asyncio.get_running_loop().time()
        await world.attempt.drain(30)
        ended = await task
        assert asyncio.get_running_loop().time() - started < 0.5
        assert ended.kind is EndKind.DRAINED
        assert any(isinstance(event, UnregisterRequested) for event in world.requests)
        assert Unregistered(index=0) in world.events


async def test_a_connection_that_drains_counts_as_gone_at_once() -> None:
    async with running() as world:
        task = await start(world)
        world.silent = True  # the edge never confirms
        draining = asyncio.create_task(world.attempt.drain(3))
        await asyncio.sleep(0)
        assert Unregistered(index=0) in world.events
        await draining
        assert (await task).kind is EndKind.DRAINED


async def test_requests_under_way_and_late_ones_end_before_the_connection() -> None:
    async with running(origin=slow_origin(5)) as world:
        task = await start(world)
        first = await world.under.open(opening())
        await asyncio.sleep(1)
        drain = asyncio.create_task(world.attempt.drain(30))
        await asyncio.sleep(2)
        late = await world.under.open(opening())
        assert (await read_answer(first)).body == b"late"
        assert (await read_answer(late)).body == b"late"
        await drain
        assert (await task).kind is EndKind.DRAINED
        assert asyncio.get_running_loop().time() == pytest.approx(8.05, abs=0.1)


async def test_what_is_left_at_the_end_of_the_grace_period_is_broken_off() -> None:
    async with running(origin=slow_origin(500)) as world:
        task = await start(world)
        await world.under.open(opening())
        await asyncio.sleep(1)
        started = asyncio.get_running_loop().time()
        await world.attempt.drain(3)
        assert (await task).kind is EndKind.DRAINED
        assert asyncio.get_running_loop().time() - started == pytest.approx(3, abs=0.1)
        assert cast("FakeOrigin", world.under.origin).cancelled == 1


async def test_an_edge_that_never_answers_that_it_shall_stop_does_not_hold_the_drain_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arrived = MemoryStream.arrived
    monkeypatch.setattr(
        MemoryStream, "arrived", lambda self, kind, value: None if kind == "stop" else arrived(self, kind, value)
    )

    async with running() as world:
        task = await start(world)
        stream = await world.under.open(opening(), finish=False)
        assert (await read_answer(stream)).body == b"hello"
        await world.under.settled()
        assert world.under.connection.statistics().streams_open == 2
        started = asyncio.get_running_loop().time()
        await world.attempt.drain(30)
        assert (await task).kind is EndKind.DRAINED
        assert asyncio.get_running_loop().time() - started < 0.5


async def test_a_request_that_comes_while_the_last_answers_are_delivered_is_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arrived = MemoryStream.arrived
    monkeypatch.setattr(
        MemoryStream, "arrived", lambda self, kind, value: None if kind == "stop" else arrived(self, kind, value)
    )

    async def serve(request: object, body: object) -> FakeResponse:
        if len(origin.requests) > 1:
            await asyncio.sleep(1)
        return FakeResponse(b"late")

    origin = FakeOrigin(serve)

    async with running(origin=origin) as world:
        task = await start(world)
        stream = await world.under.open(opening(), finish=False)
        await read_answer(stream)
        await world.under.settled()
        drain = asyncio.create_task(world.attempt.drain(30))
        await asyncio.sleep(IDLE_LINGER + 1.5 * DELIVERY_INTERVAL)
        late = await world.under.open(opening())
        assert (await read_answer(late)).body == b"late"
        await drain
        assert (await task).kind is EndKind.DRAINED


async def test_an_edge_that_ends_the_control_stream_after_unregistering_lets_requests_end() -> None:
    async with running(origin=slow_origin(5)) as world:
        task = await start(world)
        stream = await world.under.open(opening())
        await asyncio.sleep(1)
        drain = asyncio.create_task(world.attempt.drain(30))
        await asyncio.sleep(0.5)
        world.control.finish()
        assert (await read_answer(stream)).body == b"late"
        await drain
        assert (await task).kind is EndKind.DRAINED


async def test_an_edge_that_never_confirms_does_not_hold_the_drain_up_beyond_the_timeout() -> None:
    async with running() as world:
        task = await start(world)
        await asyncio.sleep(0.1)
        world.silent = True
        started = asyncio.get_running_loop().time()
        await world.attempt.drain(30)
        await task
        assert asyncio.get_running_loop().time() - started == pytest.approx(5, abs=0.2)


async def test_cancelling_closes_the_connection_and_leaves_no_task() -> None:
    async with running(origin=slow_origin(500)) as world:
        task = await start(world)
        await world.under.open(opening())
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert world.under.connection.closed is not None
        assert world.under.streams.running.active == 0
        names = {other.get_name() for other in asyncio.all_tasks()}
        assert not any(name.startswith(("control stream", "edge stream")) for name in names)


async def test_the_secret_is_in_no_repr() -> None:
    async def scenario(world: World) -> None:
        registration: Registration = world.attempt.services.identity.registration(world.attempt.plan)
        assert SECRET.decode() not in f"{registration!r}{world.attempt!r}"

    await scenario(World())


def test_features_are_ours_and_those_asked_for_without_withdrawn_ones() -> None:
    found = features(("x", "support_datagram_v3", "x"), post_quantum=True)
    assert found[-2:] == ("x", "postquantum")
    assert "allow_remote_config" in found
    assert "support_datagram_v3" not in found


def test_who_takes_no_pushed_configuration_does_not_offer_to() -> None:
    assert "allow_remote_config" not in features((), post_quantum=False, remote_config=False)
