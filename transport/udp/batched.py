"""Batched UDP for the QUIC engines: few system calls and few wake-ups per datagram.

On Linux several datagrams leave in one call (UDP_SEGMENT) and arrive in one (UDP_GRO); elsewhere one by one. Where the
loop cannot watch sockets (Windows' proactor) asyncio's own datagram transport does the work. Sending never waits: what
the kernel does not take is kept up to `PENDING_LIMIT` datagrams, then dropped and counted, as a network would.

A client's socket is connected while it shakes hands, because only then the system tells that nobody listens. Afterwards
it is not (`follow_routes`): a connected socket keeps the source address of its first route, so when that address or
its uplink goes away everything sent is lost, although another route is there.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from pyconnector.transport.seam import Address, UdpCounts
from pyconnector.transport.udp.batch import (
    GRO_SPACE,
    UDP_GRO,
    gso_control,
    received_segment_size,
    run_end,
    split_segments,
)

#: One datagram and its destination (sending) or origin (receiving).
Datagram: TypeAlias = tuple[bytes, Address]

#: Datagrams kept for a socket that is full; more are dropped and counted.
PENDING_LIMIT = 1024
#: Reads per wake-up, so that a flood cannot keep the loop from its other work.
READS_PER_WAKEUP = 16
#: A first datagram that is smaller mostly comes alone: looking for a second costs more than being called again.
FULL_DATAGRAM = 1200
#: Largest thing one read can return: a datagram, or a train of merged ones.
RECEIVE_BUFFER = 65_535
#: What the system says when nothing gets there: nobody listens, no way, prohibited (by a route, or on the way there).
REFUSALS = frozenset(
    (
        errno.ECONNREFUSED,
        errno.ENETUNREACH,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.EHOSTDOWN,
        errno.EADDRNOTAVAIL,
        errno.EACCES,
        errno.EPERM,
    )
)
#: Smallest socket buffer worth asking for where the system refuses larger ones.
SMALLEST_SOCKET_BUFFER = 64 * 1024

_LINUX = sys.platform == "linux"
# asm-generic/socket.h, linux/in.h, linux/in6.h: not all in Python's socket module.
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_MTU_DISCOVER = {socket.AF_INET: (socket.IPPROTO_IP, 10), socket.AF_INET6: (socket.IPPROTO_IPV6, 23)}
_MTU_PROBE = 3


class UdpEndpoint:
    """One bound UDP socket. `send` is synchronous; what arrives is handed over in batches."""

    #: The bound local address, with the real port.
    address: Address
    #: Bytes of socket buffer that the system granted (the smaller of receiving and sending).
    granted_buffer: int
    #: Datagrams that were never given to the network.
    dropped: int
    #: Called once what waited for a full socket is gone.
    on_writable: Callable[[], None] | None
    #: Called with the size of a datagram, in bytes, that the system says is larger than what the interface carries. It
    #: was dropped; whoever tries out what a path carries has to expect that.
    on_too_large: Callable[[int], None] | None

    def __init__(self, sock: socket.socket, on_datagrams: Callable[[list[Datagram]], None], remote: Any = None) -> None:
        self._socket = sock
        self._loop = asyncio.get_running_loop()
        self._on_datagrams = on_datagrams
        self._connected = remote is not None
        self._remote = remote
        self._peer: Address | None = None if remote is None else remote[:2]
        self._pending: list[Datagram] = []
        self._transport: asyncio.DatagramTransport | None = None
        self._protocol: _TransportProtocol | None = None
        self._gso = _LINUX
        self._buffer = memoryview(bytearray(RECEIVE_BUFFER))
        self._closed = False
        self._bound: Any = ("", 0)  # as it was asked for
        self._on_refused: Callable[[OSError], None] | None = None
        self._buffer_wanted = 0
        self.on_writable = None
        self.on_too_large = None
        self.address = sock.getsockname()[:2]
        self.granted_buffer = 0
        self.dropped = 0
        self.counts = UdpCounts()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<UdpEndpoint {self.address} {state} pending={len(self._pending)} dropped={self.dropped}>"

    @classmethod
    async def open(
        cls,
        host: str,
        port: int,
        *,
        socket_buffer: int,
        on_datagrams: Callable[[list[Datagram]], None],
        remote: Address | None = None,
        on_refused: Callable[[OSError], None] | None = None,
    ) -> UdpEndpoint:
        """Bind a socket to `host` ("" for the wildcard) and `port` (0 for any).

        With `remote` it hears only that peer and sends only there, whatever address a datagram names. Until
        `follow_routes` it calls `on_refused` with what the network says of sending there: that nobody listens, that
        there is no way, or that it is prohibited.
        Cancel leaves no socket behind.

        Raises:
            OSError: the address cannot be resolved or bound.
        """
        loop = asyncio.get_running_loop()
        family = _family(remote[0]) if remote is not None else 0
        found = await loop.getaddrinfo(
            host or None, port, family=family, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE
        )
        target: Any = None
        if remote is not None:
            target = (await loop.getaddrinfo(*remote, family=family, type=socket.SOCK_DGRAM))[0][4]
        sock = socket.socket(found[0][0], socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.bind(found[0][4])
            if remote is not None:
                sock.connect(target)
            endpoint = cls(sock, on_datagrams, target)
            endpoint._on_refused = on_refused
            endpoint._buffer_wanted = socket_buffer
            endpoint._bound = found[0][4]
            endpoint.granted_buffer = _ask_for_buffers(sock, socket_buffer)
            _ask_for_offloads(sock)
            try:
                loop.add_reader(sock, endpoint._on_readable)
            except NotImplementedError:
                protocol = _TransportProtocol(on_datagrams, endpoint._refused, endpoint._on_writable)
                endpoint._transport, endpoint._protocol = await loop.create_datagram_endpoint(
                    lambda: protocol, sock=sock
                )
        except BaseException:
            sock.close()
            raise
        return endpoint

    @property
    def is_blocked(self) -> bool:
        """Whether datagrams wait for a full socket: a good time to send no more until `on_writable`."""
        return bool(self._pending)

    def send(self, datagrams: Sequence[Datagram]) -> None:
        """Send or queue `datagrams`, in order; drop what does not fit. Never blocks, never raises."""
        if self._closed:
            self.dropped += len(datagrams)
        elif self._pending:
            self._keep(datagrams)
        else:
            sent = self._send_now(datagrams)
            if sent < len(datagrams):
                self._keep(datagrams[sent:])
                if self._transport is None:
                    self._loop.add_writer(self._socket, self._on_writable)

    def follow_routes(self) -> None:
        """Let the system choose this side's address anew for every datagram; the port stays, where nobody took it.

        What the network says of earlier datagrams is not heard any more: anybody might forge it. Where the socket
        belongs to an asyncio transport it stays as it is.
        """
        if self._transport is None and not self._closed:
            self._on_readable()  # what has arrived on the socket that goes
        if self._closed or not self._connected or self._transport is not None:
            return
        fresh = socket.socket(self._socket.family, socket.SOCK_DGRAM)
        host, old = self._bound[0], self._socket
        try:
            fresh.setblocking(False)
            _ask_for_buffers(fresh, self._buffer_wanted)
            _ask_for_offloads(fresh)
            self._loop.remove_reader(old)
            self._loop.remove_writer(old)
            old.close()
            try:
                fresh.bind((host, self.address[1], *self._bound[2:]))
            except OSError:
                fresh.bind((host, 0, *self._bound[2:]))
        except OSError:
            fresh.close()
            raise
        self._socket = fresh
        self._connected = False
        self._loop.add_reader(fresh, self._on_readable)
        if self._pending:
            self._loop.add_writer(fresh, self._on_writable)

    def close(self) -> None:
        """Give the kernel what it still takes, then close the socket. Idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._transport is None:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
        if self._pending:
            self.dropped += len(self._pending) - self._send_now(self._pending)
            self._pending.clear()
        if self._transport is None:
            self._socket.close()
        else:
            self._transport.close()

    def _keep(self, datagrams: Sequence[Datagram]) -> None:
        room = PENDING_LIMIT - len(self._pending)
        self._pending.extend(datagrams[:room])
        self.dropped += max(len(datagrams) - room, 0)

    def _on_writable(self) -> None:
        del self._pending[: self._send_now(self._pending)]
        if self._pending:
            return
        if self._transport is None:
            self._loop.remove_writer(self._socket)
        if self.on_writable is not None:
            self.on_writable()

    def _send_now(self, datagrams: Sequence[Datagram]) -> int:
        """Return how many of `datagrams` need no further attempt; fewer than all means that the socket is full."""
        if self._transport is not None:
            return self._send_by_transport(self._transport, datagrams)
        start, count = 0, len(datagrams)
        while start < count:
            end = run_end(datagrams, start) if self._gso else start + 1
            try:
                if end - start > 1:
                    self._send_run(datagrams, start, end)
                else:
                    self._send_one(*datagrams[start])
            except (BlockingIOError, InterruptedError):
                return start
            except OSError as exc:
                if end - start > 1 and exc.errno in (errno.EIO, errno.EINVAL):
                    self._without_offload(datagrams, start, end)
                else:
                    self.dropped += end - start
                    if exc.errno == errno.EMSGSIZE:
                        self._too_large(len(datagrams[start][0]))
                    else:
                        # Linux may also report here what became of an EARLIER datagram; this one was not sent.
                        self._refused(exc)
                if self._closed:
                    self.dropped += count - end
                    return count
            start = end
        return count

    def _send_one(self, data: bytes, address: Address) -> None:
        if self._connected:
            self._socket.send(data)
        else:
            self._socket.sendto(data, self._remote or address)
        self.counts.sent += 1
        self.counts.send_calls += 1

    def _send_run(self, datagrams: Sequence[Datagram], start: int, end: int) -> None:
        data, address = datagrams[start]
        parts = [datagram[0] for datagram in datagrams[start:end]]
        if self._connected:
            self._socket.sendmsg(parts, gso_control(len(data)))
        else:
            self._socket.sendmsg(parts, gso_control(len(data)), 0, self._remote or address)
        self.counts.sent += end - start
        self.counts.send_calls += 1

    def _without_offload(self, datagrams: Sequence[Datagram], start: int, end: int) -> None:
        """Send a refused run one by one; give up the offload unless the run was merely too large for the path.

        The kernel says EINVAL for both (net/ipv4/udp.c, udp_send_skb). What the socket does not take here is dropped.
        """
        too_large = 0
        for data, address in datagrams[start:end]:
            try:
                self._send_one(data, address)
            except OSError as exc:
                if exc.errno == errno.EMSGSIZE:
                    too_large = max(too_large, len(data))
                self.dropped += 1
        self._gso = bool(too_large)
        if too_large:
            self._too_large(too_large)

    def _send_by_transport(self, transport: asyncio.DatagramTransport, datagrams: Sequence[Datagram]) -> int:
        protocol = self._protocol
        for sent, (data, address) in enumerate(datagrams):
            if protocol is not None and protocol.paused:
                return sent
            transport.sendto(data, None if self._connected else address)
        return len(datagrams)

    def _on_readable(self) -> None:
        batch: list[Datagram] = []
        for _ in range(READS_PER_WAKEUP):
            try:
                if not self._receive(batch) or (len(batch) == 1 and len(batch[0][0]) < FULL_DATAGRAM):
                    break
            except OSError as exc:
                # About something sent earlier: the next read clears it.
                self._refused(exc)
                if self._closed:
                    return
        if batch:
            self._on_datagrams(batch)

    def _receive(self, batch: list[Datagram]) -> bool:
        """Add what one read returns to `batch`; False where nothing is there."""
        buffer = self._buffer
        try:
            if _LINUX:
                size, control, _, origin = self._socket.recvmsg_into((buffer,), GRO_SPACE)
            else:
                size, origin = self._socket.recvfrom_into(buffer)
                control = []
        except (BlockingIOError, InterruptedError):
            return False
        address: Address = origin if len(origin) == 2 else origin[:2]
        if address != self._peer and self._peer is not None:
            return True  # a stranger
        self.counts.receive_calls += 1
        segment = received_segment_size(control) if control else size
        if segment >= size:
            batch.append((bytes(buffer[:size]), address))
            self.counts.received += 1
        else:
            pieces = split_segments(buffer[:size], segment)
            self.counts.received += len(pieces)
            batch += [(piece, address) for piece in pieces]
        return True

    def _refused(self, exc: OSError) -> None:
        if self._connected and self._on_refused is not None and exc.errno in REFUSALS:
            self._on_refused(exc)

    def _too_large(self, size: int) -> None:
        # Through the loop: this runs in the middle of sending.
        if self.on_too_large is not None:
            self._loop.call_soon(self.on_too_large, size)


class _TransportProtocol(asyncio.DatagramProtocol):
    """For loops that cannot watch a socket."""

    def __init__(
        self,
        on_datagrams: Callable[[list[Datagram]], None],
        on_refused: Callable[[OSError], None],
        on_writable: Callable[[], None],
    ) -> None:
        self._on_datagrams = on_datagrams
        self._on_refused = on_refused
        self._on_writable = on_writable
        self.paused = False

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._on_datagrams([(data, addr[:2])])

    def error_received(self, exc: Exception) -> None:
        if isinstance(exc, OSError):
            self._on_refused(exc)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self._on_writable()


def _family(host: str) -> int:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _ask_for_offloads(sock: socket.socket) -> None:
    if not _LINUX:
        return
    level, option = _MTU_DISCOVER[sock.family]
    # DF on every packet and no fragments: QUIC forbids fragmenting (RFC 9000 14) and probes the path itself.
    for args in ((socket.IPPROTO_UDP, UDP_GRO, 1), (level, option, _MTU_PROBE)):
        try:
            sock.setsockopt(*args)
        except OSError:
            # An older or restricted kernel: datagrams arrive one by one.
            continue


def _ask_for_buffers(sock: socket.socket, wanted: int) -> int:
    """Ask for `wanted` bytes each way and return the smaller grant."""
    granted = (
        _ask_for_buffer(sock, socket.SO_RCVBUF, _SO_RCVBUFFORCE, wanted),
        _ask_for_buffer(sock, socket.SO_SNDBUF, _SO_SNDBUFFORCE, wanted),
    )
    return min(granted)


def _ask_for_buffer(sock: socket.socket, option: int, force: int, wanted: int) -> int:
    size = wanted
    while size >= SMALLEST_SOCKET_BUFFER:
        try:
            sock.setsockopt(socket.SOL_SOCKET, option, size)
            break
        except OSError:
            # The BSDs refuse what Linux would cut down to its maximum.
            size //= 2
    # Linux reports twice the granted size, for its own bookkeeping (socket(7)).
    share = 2 if _LINUX else 1
    granted = sock.getsockopt(socket.SOL_SOCKET, option) // share
    if _LINUX and granted < wanted:
        try:
            # Beyond net.core.?mem_max, where the process may.
            sock.setsockopt(socket.SOL_SOCKET, force, wanted)
        except OSError:
            return granted
        granted = sock.getsockopt(socket.SOL_SOCKET, option) // share
    return granted
