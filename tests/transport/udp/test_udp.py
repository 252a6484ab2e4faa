"""Real loopback sockets; the kernel's refusals are played by a wrapper around the real socket."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from pyconnector.transport.udp import batched as udp
from pyconnector.transport.udp.batched import PENDING_LIMIT, Datagram, UdpEndpoint

LOOPBACK = "127.0.0.1"
BUFFER = 1 << 20
linux = pytest.mark.skipif(sys.platform != "linux", reason="segmentation offload is Linux's")


class Inbox:
    def __init__(self) -> None:
        self.datagrams: list[Datagram] = []
        self.batches = 0
        self._changed = asyncio.Event()

    def __call__(self, datagrams: list[Datagram]) -> None:
        self.datagrams += datagrams
        self.batches += 1
        self._changed.set()

    async def wait(self, count: int) -> list[bytes]:
        async with asyncio.timeout(30):
            while len(self.datagrams) < count:
                self._changed.clear()
                await self._changed.wait()
        return [data for data, _ in self.datagrams]


@contextlib.asynccontextmanager
async def endpoint(
    on_datagrams: Callable[[list[Datagram]], None] = lambda _: None, **options: Any
) -> AsyncIterator[UdpEndpoint]:
    opened = await UdpEndpoint.open(
        options.pop("host", LOOPBACK), 0, socket_buffer=BUFFER, on_datagrams=on_datagrams, **options
    )
    try:
        yield opened
    finally:
        opened.close()


class Shim:
    """The real socket, with some of its calls refused."""

    def __init__(self, real: socket.socket) -> None:
        self.real = real
        self.refusals: dict[str, list[OSError]] = {}
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.real, name)
        if name not in ("send", "sendto", "sendmsg"):
            return found

        def call(*args: Any) -> Any:
            self.calls.append(name)
            if self.refusals.get(name):
                raise self.refusals[name].pop(0)
            return found(*args)

        return call


def shimmed(opened: UdpEndpoint) -> Shim:
    shim = Shim(opened._socket)
    opened._socket = shim  # type: ignore[assignment]
    return shim


def addressed(pieces: list[bytes], to: UdpEndpoint) -> list[Datagram]:
    return [(piece, to.address) for piece in pieces]


async def test_mixed_sizes_arrive_whole_in_order_with_their_origin() -> None:
    inbox = Inbox()
    pieces = [bytes([n]) * size for n, size in enumerate([1200, 1200, 1200, 300, 1200, 9, 1452, 1452, 1])]
    async with endpoint(inbox) as receiver, endpoint() as sender:
        sender.send(addressed(pieces, receiver))
        assert await inbox.wait(len(pieces)) == pieces
        assert {origin for _, origin in inbox.datagrams} == {sender.address}
        assert sender.dropped == 0


@pytest.mark.usefixtures("each_loop")
async def test_both_loops_echo() -> None:
    replies = Inbox()
    servers: list[UdpEndpoint] = []

    def echo(datagrams: list[Datagram]) -> None:
        servers[0].send(datagrams)

    async with endpoint(echo) as server, endpoint(replies, remote=server.address) as client:
        servers.append(server)
        pieces = [bytes([n]) * 1200 for n in range(100)]
        client.send(addressed(pieces, server))
        assert await replies.wait(100) == pieces


@linux
async def test_a_train_takes_one_call_and_few_reads() -> None:
    inbox = Inbox()
    async with endpoint(inbox) as receiver, endpoint() as sender:
        shim = shimmed(sender)
        pieces = [bytes([n]) * 1200 for n in range(108)]
        sender.send(addressed(pieces, receiver))
        assert shim.calls == ["sendmsg", "sendmsg"]
        assert await inbox.wait(108) == pieces
        assert inbox.batches <= 2


@linux
@pytest.mark.parametrize("code", [errno.EIO, errno.EINVAL])
async def test_offload_refused_once_is_not_tried_again(code: int) -> None:
    inbox = Inbox()
    async with endpoint(inbox) as receiver, endpoint() as sender:
        shim = shimmed(sender)
        shim.refusals["sendmsg"] = [OSError(code, "refused")]
        pieces = [bytes([n]) * 1200 for n in range(6)]
        sender.send(addressed(pieces[:3], receiver))
        sender.send(addressed(pieces[3:], receiver))
        assert await inbox.wait(6) == pieces
        assert shim.calls == ["sendmsg", *["sendto"] * 6]
        assert sender.dropped == 0


@linux
async def test_a_run_too_large_for_the_path_does_not_cost_the_offload() -> None:
    inbox = Inbox()
    async with endpoint(inbox) as receiver, endpoint() as sender:
        shim = shimmed(sender)
        shim.refusals["sendmsg"] = [OSError(errno.EINVAL, "refused")]
        shim.refusals["sendto"] = [OSError(errno.EMSGSIZE, "too large")] * 2
        told: list[int] = []
        sender.on_too_large = told.append
        sender.send(addressed([b"x" * 1400, b"x" * 1300], receiver))
        sender.send(addressed([b"y" * 1200] * 2, receiver))
        assert await inbox.wait(2) == [b"y" * 1200] * 2
        assert told == [1400]
        assert shim.calls == ["sendmsg", "sendto", "sendto", "sendmsg"]
        assert sender.dropped == 2


async def test_a_full_socket_is_retried_in_order_and_later_datagrams_queue_behind() -> None:
    inbox = Inbox()
    async with endpoint(inbox) as receiver, endpoint() as sender:
        shim = shimmed(sender)
        shim.refusals["sendto"] = [BlockingIOError(errno.EAGAIN, "full")]
        writable: list[bool] = []
        sender.on_writable = lambda: writable.append(sender.is_blocked)
        sender.send(addressed([b"first"], receiver))
        sender.send(addressed([b"second"], receiver))
        assert sender.is_blocked
        assert inbox.datagrams == []
        assert await inbox.wait(2) == [b"first", b"second"]
        assert sender.dropped == 0
        assert writable == [False]


async def test_pending_datagrams_are_bounded_and_the_excess_is_counted() -> None:
    async with endpoint() as receiver, endpoint() as sender:
        shim = shimmed(sender)
        shim.refusals["sendto"] = [BlockingIOError(errno.EAGAIN, "full")] * 2
        sender.send(addressed([b"first"], receiver))
        for _ in range(PENDING_LIMIT + 4):
            sender.send(addressed([b"more"], receiver))
        assert len(sender._pending) == PENDING_LIMIT
        assert sender.dropped == 5
        sender.close()
        assert sender._pending == []


async def test_a_refused_datagram_is_dropped_counted_and_the_next_one_goes() -> None:
    inbox = Inbox()
    async with endpoint(inbox) as receiver, endpoint() as sender:
        shim = shimmed(sender)
        shim.refusals["sendto"] = [OSError(errno.ENETUNREACH, "no way")]
        sender.send(addressed([b"lost"], receiver))
        sender.send(addressed([b"kept"], receiver))
        assert await inbox.wait(1) == [b"kept"]
        assert sender.dropped == 1


@linux
async def test_a_connected_endpoint_learns_that_nobody_listens() -> None:
    async with endpoint() as gone:
        address = gone.address
    refused = asyncio.Event()
    async with endpoint(remote=address, on_refused=lambda _: refused.set()) as client:
        client.send([(b"anyone?", address)])
        async with asyncio.timeout(30):
            await refused.wait()


async def test_a_connected_endpoint_hears_its_remote_alone() -> None:
    inbox = Inbox()
    async with endpoint() as peer, endpoint() as stranger, endpoint(inbox, remote=peer.address) as client:
        stranger.send([(b"no", client.address)])
        peer.send([(b"yes", client.address)])
        assert await inbox.wait(1) == [b"yes"]


async def test_the_grant_is_reported_and_no_larger_than_asked_for() -> None:
    async with endpoint() as opened:
        assert udp.SMALLEST_SOCKET_BUFFER <= opened.granted_buffer <= BUFFER
        if sys.platform == "linux":
            real = opened._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
            assert opened.granted_buffer <= real // 2


async def test_close_twice_is_harmless_and_sending_afterwards_only_counts() -> None:
    async with endpoint() as opened:
        opened.close()
        opened.close()
        opened.send([(b"late", opened.address)])
        assert opened.dropped == 1
        assert repr(opened).startswith("<UdpEndpoint ('127.0.0.1', ")


async def test_a_flood_is_read_in_several_wake_ups() -> None:
    inbox = Inbox()
    async with endpoint(inbox) as receiver, endpoint() as sender:
        # Falling sizes: no two of them merge, so each takes a read of its own.
        pieces = [b"x" * size for size in range(3 * udp.READS_PER_WAKEUP, 0, -1)]
        for piece in pieces:
            sender.send([(piece, receiver.address)])
        assert await inbox.wait(len(pieces)) == pieces
        assert inbox.batches >= 3


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
async def test_version_6_addresses_are_pairs_too() -> None:
    inbox = Inbox()
    try:
        opening = await UdpEndpoint.open("::1", 0, socket_buffer=BUFFER, on_datagrams=inbox)
    except OSError:
        pytest.skip("no IPv6 loopback here")
    opening.close()
    async with endpoint(inbox, host="::1") as receiver, endpoint(host="", remote=receiver.address) as sender:
        sender.send([(b"six", receiver.address)])
        await inbox.wait(1)
        assert inbox.datagrams == [(b"six", ("::1", sender.address[1]))]


async def test_a_loop_that_cannot_watch_sockets_uses_its_own_transport(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    replies = Inbox()
    servers: list[UdpEndpoint] = []
    real = loop.add_reader

    def only_for_the_loop_itself(fd: Any, *args: Any) -> Any:
        # asyncio's selector transport calls _add_reader; the public method is what a proactor loop lacks.
        raise NotImplementedError

    monkeypatch.setattr(loop, "add_reader", only_for_the_loop_itself)
    try:
        async with endpoint(lambda got: servers[0].send(got)) as server:
            async with endpoint(replies, remote=server.address) as client:
                servers.append(server)
                assert client._transport is not None
                client.send(addressed([b"one", b"two"], server))
                assert await replies.wait(2) == [b"one", b"two"]
                client._protocol.pause_writing()  # type: ignore[union-attr]
                client.send(addressed([b"three"], server))
                assert client._pending
                client._protocol.resume_writing()  # type: ignore[union-attr]
                assert await replies.wait(3) == [b"one", b"two", b"three"]
    finally:
        monkeypatch.setattr(loop, "add_reader", real)
    await asyncio.sleep(0)


async def test_opening_a_taken_port_leaves_no_socket() -> None:
    async with endpoint() as holder:
        with pytest.raises(OSError, match="in use"):
            await UdpEndpoint.open(*holder.address, socket_buffer=BUFFER, on_datagrams=lambda _: None)


@linux
async def test_datagrams_and_the_calls_that_carry_them_are_counted() -> None:
    inbox = Inbox()
    async with endpoint(inbox) as receiver, endpoint() as sender:
        sender.send(addressed([bytes(100)] * 3 + [bytes(200)], receiver))
        await inbox.wait(4)
        assert (sender.counts.sent, sender.counts.send_calls) == (4, 2)
        assert receiver.counts.received == 4
        assert receiver.counts.receive_calls <= 4


@linux
async def test_what_the_kernel_does_not_take_is_not_counted() -> None:
    async with endpoint() as sender:
        shimmed(sender).refusals["sendto"] = [BlockingIOError()]
        sender.send([(b"x", (LOOPBACK, 9))])
        assert (sender.counts.sent, sender.counts.send_calls) == (0, 0)
