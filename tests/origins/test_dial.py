from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import time
from pathlib import Path

import pytest

from pyconnector.origins.base import OriginError
from pyconnector.origins.net import dial
from pyconnector.origins.net.dial import Dialer, DialSettings, Endpoint, Target
from tests.support.peers.raw_origin import Peer, raw_origin

OPENING = (
    "Unable to reach the origin service. The service may be down or it may not be responding to traffic from "
    "pyconnector: "
)


async def wait_for_close(peer: Peer) -> None:
    await peer.closed()


async def close_at_once(peer: Peer) -> None:
    peer.end()


async def failure_of(dialer: Dialer, endpoint: Endpoint, server_name: str = "") -> str:
    with pytest.raises(OriginError) as caught:
        await dialer.connect(endpoint, asyncio.Protocol, server_name=server_name)
    assert caught.value.status == 502
    assert caught.value.reason.startswith(OPENING)
    return caught.value.reason.removeprefix(OPENING)


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Silent:
    """A port on which connecting never gets an answer: its backlog is full, so the kernel drops each SYN."""

    def __enter__(self) -> int:
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(0)
        self.fillers = [socket.socket() for _ in range(4)]
        for filler in self.fillers:
            filler.setblocking(False)
            filler.connect_ex(self.listener.getsockname())
        port: int = self.listener.getsockname()[1]
        return port

    def __exit__(self, *_: object) -> None:
        for sock in (self.listener, *self.fillers):
            sock.close()


@pytest.mark.usefixtures("each_loop")
async def test_a_tcp_service_is_reached_with_keepalive_and_without_delay() -> None:
    async with raw_origin(wait_for_close) as origin:
        dialer = Dialer(DialSettings(keepalive=7))
        transport, _ = await dialer.connect(Endpoint(host="127.0.0.1", port=origin.port), asyncio.Protocol)
        sock = transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 7
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 7
        transport.close()


@pytest.mark.usefixtures("each_loop")
@pytest.mark.parametrize(("setting", "wanted"), [(0, 15), (0.2, 1)])
async def test_a_keepalive_of_zero_is_the_default_and_one_below_a_second_is_a_second(
    setting: float, wanted: int
) -> None:
    async with raw_origin(wait_for_close) as origin:
        sock = await Dialer(DialSettings(keepalive=setting)).open_socket(Endpoint(host="127.0.0.1", port=origin.port))
        with sock:
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == wanted


@pytest.mark.usefixtures("each_loop")
async def test_a_negative_keepalive_turns_it_off() -> None:
    async with raw_origin(wait_for_close) as origin:
        sock = await Dialer(DialSettings(keepalive=-1)).open_socket(Endpoint(host="127.0.0.1", port=origin.port))
        with sock:
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0


@pytest.mark.usefixtures("each_loop")
async def test_a_unix_socket_is_reached(tmp_path: Path) -> None:
    path = str(tmp_path / "app.sock")
    async with raw_origin(wait_for_close, path=path):
        transport, _ = await Dialer().connect(Endpoint(path=path), asyncio.Protocol)
        transport.close()


@pytest.mark.usefixtures("each_loop")
async def test_failures_are_one_sentence_each(tmp_path: Path) -> None:
    async def nobody(host: str, port: int) -> list[Target]:
        return []

    port = closed_port()
    assert await failure_of(Dialer(), Endpoint(host="127.0.0.1", port=port)) == (
        f"127.0.0.1:{port} refused the connection"
    )
    assert await failure_of(Dialer(), Endpoint(path=str(tmp_path / "none"))) == (
        f"unix:{tmp_path / 'none'} does not exist"
    )
    unknown = await failure_of(Dialer(), Endpoint(host="no-such-host.invalid", port=80))
    assert unknown.startswith("the name in no-such-host.invalid:80 could not be resolved (")
    assert "has no address" in await failure_of(Dialer(resolve=nobody), Endpoint(host="empty", port=80))
    assert "a port between 1 and 65535" in await failure_of(Dialer(), Endpoint(host="127.0.0.1", port=0))
    assert "a port between 1 and 65535" in await failure_of(Dialer(), Endpoint(host="127.0.0.1", port=65536))


@pytest.mark.usefixtures("each_loop")
async def test_the_connect_timeout_ends_the_attempt() -> None:
    with Silent() as port:
        dialer = Dialer(DialSettings(connect_timeout=0.05))
        assert await failure_of(dialer, Endpoint(host="127.0.0.1", port=port)) == (
            f"127.0.0.1:{port} did not answer within 0.05 s"
        )


@pytest.mark.usefixtures("each_loop")
async def test_cancelling_a_dial_closes_its_sockets() -> None:
    async def two(host: str, port: int) -> list[Target]:
        return [(socket.AF_INET, ("127.0.0.1", port)), (socket.AF_INET6, ("::1", port, 0, 0))] * 2

    with Silent() as port:
        task = asyncio.create_task(Dialer(resolve=two).open_socket(Endpoint(host="twice", port=port)))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.usefixtures("each_loop")
async def test_a_silent_address_does_not_hold_up_the_next_one() -> None:
    async with raw_origin(wait_for_close) as origin:
        with Silent() as silent:

            async def both(host: str, port: int) -> list[Target]:
                return [(socket.AF_INET, ("127.0.0.1", silent)), (socket.AF_INET, ("127.0.0.1", origin.port))]

            began = time.monotonic()
            sock = await Dialer(resolve=both).open_socket(Endpoint(host="both", port=1))
            took = time.monotonic() - began
            with sock:
                assert sock.getpeername()[1] == origin.port
            assert dial.ATTEMPT_DELAY <= took < 1.5


@pytest.mark.usefixtures("each_loop")
async def test_a_refusing_address_starts_the_next_one_at_once() -> None:
    async with raw_origin(wait_for_close) as origin:
        refusing = closed_port()

        async def both(host: str, port: int) -> list[Target]:
            return [(socket.AF_INET, ("127.0.0.1", refusing)), (socket.AF_INET, ("127.0.0.1", origin.port))]

        began = time.monotonic()
        with await Dialer(resolve=both).open_socket(Endpoint(host="both", port=1)) as sock:
            assert sock.getpeername()[1] == origin.port
        assert time.monotonic() - began < dial.ATTEMPT_DELAY


@pytest.mark.usefixtures("each_loop")
async def test_when_two_addresses_connect_at_once_one_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial, "ATTEMPT_DELAY", 0)

    async with raw_origin(wait_for_close) as origin:

        async def twice(host: str, port: int) -> list[Target]:
            return [(socket.AF_INET, ("127.0.0.1", origin.port))] * 3

        opened = 0
        async with asyncio.timeout(30):
            while len(origin.peers) <= opened + 3:  # until some races were real: the server saw those that lost
                (await Dialer(resolve=twice).open_socket(Endpoint(host="twice", port=1))).close()
                opened += 1
                await asyncio.sleep(0.001)


@pytest.mark.usefixtures("each_loop")
async def test_without_happy_eyeballs_addresses_are_tried_one_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial, "MIN_SERIAL_ATTEMPT", 0.01)
    attempts: list[object] = []
    real = dial._attempt

    async def noted(target: Target) -> socket.socket:
        attempts.append(target[1])
        return await real(target)

    monkeypatch.setattr(dial, "_attempt", noted)

    async with raw_origin(wait_for_close) as origin:
        with Silent() as silent:

            async def both(host: str, port: int) -> list[Target]:
                return [(socket.AF_INET, ("127.0.0.1", silent)), (socket.AF_INET, ("127.0.0.1", origin.port))]

            dialer = Dialer(DialSettings(happy_eyeballs=False, connect_timeout=1.0), resolve=both)
            pending = asyncio.create_task(dialer.open_socket(Endpoint(host="both", port=1)))
            await asyncio.sleep(dial.ATTEMPT_DELAY + 0.1)
            assert attempts == [("127.0.0.1", silent)]
            with await pending as sock:  # after its half of the time the first gave way to the second
                assert sock.getpeername()[1] == origin.port


@pytest.mark.usefixtures("each_loop")
async def test_every_address_failing_names_the_first_cause() -> None:
    port = closed_port()

    async def both(host: str, port: int) -> list[Target]:
        return [(socket.AF_INET, ("127.0.0.1", port)), (socket.AF_INET, ("127.0.0.2", port))]

    for happy in (True, False):
        dialer = Dialer(DialSettings(happy_eyeballs=happy), resolve=both)
        assert await failure_of(dialer, Endpoint(host="both", port=port)) == f"both:{port} refused the connection"


def test_families_take_turns() -> None:
    v6: list[Target] = [(socket.AF_INET6, (f"::{n}", 1, 0, 0)) for n in range(3)]
    v4: list[Target] = [(socket.AF_INET, ("127.0.0.1", 1))]
    assert dial._taking_turns([*v6, *v4]) == [v6[0], v4[0], v6[1], v6[2]]


@pytest.mark.usefixtures("each_loop")
@pytest.mark.skipif(dial._NOTSENT_LOWAT is None, reason="the system has no such bound")
async def test_the_system_keeps_little_of_what_a_slow_service_does_not_take() -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        opened = await Dialer().open_socket(Endpoint(host="127.0.0.1", port=listener.getsockname()[1]))
        with opened, listener.accept()[0]:
            kept = 0
            with contextlib.suppress(BlockingIOError):
                while kept < 8 * 1024 * 1024:
                    kept += opened.send(bytes(64 * 1024))
    assert kept < 1024 * 1024


@pytest.mark.usefixtures("each_loop")
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has abstract sockets")
async def test_a_path_that_begins_with_an_at_is_an_abstract_socket() -> None:
    name = f"pyconnector-test-{os.getpid()}"

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"\0{name}")
    listener.listen()
    transport, _ = await Dialer().connect(Endpoint(path=f"@{name}"), asyncio.Protocol)
    transport.close()
    listener.close()
    assert await failure_of(Dialer(), Endpoint(path=f"@{name}")) == f"unix:@{name} refused the connection"
