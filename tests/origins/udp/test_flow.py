from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from pyconnector.origins.udp import flow as flows
from pyconnector.origins.udp.flow import FlowError, UdpFlow
from tests.support.services.udp_service import UdpService

pytestmark = pytest.mark.usefixtures("virtual_time")


class Owner:
    def __init__(self) -> None:
        self.data: list[bytes] = []
        self.reasons: list[str] = []
        self.causes: list[tuple[str, bool]] = []

    def arrived(self, data: bytes) -> None:
        self.data.append(data)

    def dropped(self, reason: str) -> None:
        self.reasons.append(reason)

    def broken(self, cause: str, *, reading: bool) -> None:
        self.causes.append((cause, reading))


class FullSocket:
    """A socket that takes nothing until it is told to."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.full = True

    def send(self, data: bytes) -> int:
        if self.full:
            raise BlockingIOError
        return self._sock.send(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def fileno(self) -> int:
        return self._sock.fileno()


async def test_a_flood_is_read_in_bounded_steps() -> None:
    owner = Owner()
    async with UdpService(lambda data: None) as service:
        flow = UdpFlow.open("127.0.0.1", service.port, owner)
        flow.send(b"hello")
        await service.wait_for(1)
        for _ in range(3 * flows.READS_PER_TURN):
            service.send(b"x")
        flow._on_readable()
        assert len(owner.data) == flows.READS_PER_TURN
        flow.close()


async def test_what_waits_for_a_full_socket_is_bounded_and_leaves_in_order() -> None:
    owner = Owner()
    async with UdpService(lambda data: None) as service:
        flow = UdpFlow.open("127.0.0.1", service.port, owner)
        full = flow._socket = FullSocket(flow._socket)  # type: ignore[assignment]
        sent = [b"%d" % n for n in range(flows.WRITE_QUEUE + 3)]
        for data in sent:
            flow.send(data)
        assert owner.reasons == ["write_full"] * 3
        assert isinstance(full, FullSocket)
        full.full = False
        await service.wait_for(flows.WRITE_QUEUE)
        assert service.received == sent[: flows.WRITE_QUEUE]
        flow.close()


async def test_what_waits_too_long_is_dropped() -> None:
    owner = Owner()
    async with UdpService(lambda data: None) as service:
        flow = UdpFlow.open("127.0.0.1", service.port, owner)
        full = flow._socket = FullSocket(flow._socket)  # type: ignore[assignment]
        flow.send(b"late")
        flow._loop.remove_writer(flow._socket)  # the socket stays full
        await asyncio.sleep(2 * flows.WRITE_DEADLINE)
        assert isinstance(full, FullSocket)
        full.full = False
        flow.send(b"behind")
        flow._flush()
        await service.wait_for(1)
        assert (service.received, owner.reasons) == ([b"behind"], ["write_deadline_exceeded"])
        flow.close()


async def test_an_address_that_cannot_be_used_is_one_sentence_and_no_socket() -> None:
    with pytest.raises(FlowError, match=r"^127\.0\.0\.1:0 is no address with a port$"):
        UdpFlow.open("127.0.0.1", 0, Owner())
    with pytest.raises(FlowError, match=r"^app\.internal:53 is no address"):
        UdpFlow.open("app.internal", 53, Owner())
    with pytest.raises(FlowError, match=r"255\.255\.255\.255:9"):
        UdpFlow.open("255.255.255.255", 9, Owner())


async def test_a_loop_that_watches_no_sockets_serves_a_flow_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    owner = Owner()
    async with UdpService() as service:
        loop = asyncio.get_running_loop()

        def refuse(*args: object) -> None:
            raise NotImplementedError

        with monkeypatch.context() as patched:
            patched.setattr(loop, "add_reader", refuse)
            flow = UdpFlow.open("127.0.0.1", service.port, owner)
        flow.send(b"hello")
        await service.wait_for(1)
        async with asyncio.timeout(30):
            while not owner.data:
                await asyncio.sleep(0)
        assert owner.data == [b"hello"]
        flow.close()
        await asyncio.sleep(0)
