"""Two connections joined in memory, with flow control and stream limits as QUIC has them.

Tests of the connector and the edge use it in place of a network. What one end sends reaches the other at the loop's
next turn, in order; windows are tied to consumption, so a reader that stalls stops its sender.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from pyconnector.transport.buffers.connection import BufferedConnection
from pyconnector.transport.buffers.stream import BufferedStream
from pyconnector.transport.seam import Address, ConnectionClosedInfo, Statistics

#: Largest datagram that the memory transport carries.
MEMORY_DATAGRAM = 1350


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryLimits:
    """What each end grants the other: bytes on the way per stream and in sum, and streams open at once."""

    stream_window: int = 512 * 1024
    connection_window: int = 768 * 1024
    streams: int = 4096


class MemoryStream(BufferedStream):
    """One end of a stream in memory."""

    __slots__ = ("_credit", "_finish_queued", "_memory", "_receiving_over", "_sending_over", "_unsent", "_unsent_size")

    def __init__(self, connection: MemoryConnection, stream_id: int) -> None:
        super().__init__(connection, stream_id)
        self._memory = connection
        self._credit = connection.limits.stream_window
        self._unsent: deque[bytes] = deque()
        self._unsent_size = 0
        self._finish_queued = False
        self._sending_over = False
        self._receiving_over = False

    def engine_write(self, data: bytes, finish: bool) -> None:
        """Queue for the peer and send what its windows allow."""
        if data:
            self._unsent.append(data)
            self._unsent_size += len(data)
        self._finish_queued = self._finish_queued or finish
        self.pump()

    def engine_unsent_backlog(self) -> int:
        """See `BufferedStream`."""
        return self._unsent_size

    def engine_reset(self, code: int) -> None:
        """See `BufferedStream`."""
        self._end_sending()
        self._memory.post(self.stream_id, "reset", code)
        self._forget_if_over()

    def engine_stop(self, code: int) -> None:
        """See `BufferedStream`."""
        self._memory.post(self.stream_id, "stop", code)

    def engine_consumed(self, count: int) -> None:
        """Give the peer new credit."""
        self._memory.post(self.stream_id, "credit", count)

    def pump(self) -> None:
        """Send what the windows allow, then the end."""
        while self._unsent and self._credit and self._memory.credit:
            piece = self._unsent.popleft()
            size = min(len(piece), self._credit, self._memory.credit)
            if size < len(piece):
                self._unsent.appendleft(piece[size:])
                piece = piece[:size]
            self._unsent_size -= size
            self._credit -= size
            self._memory.credit -= size
            self._memory.post(self.stream_id, "data", piece)
        if self._finish_queued and not self._unsent and not self._sending_over:
            self._sending_over = True
            self._memory.post(self.stream_id, "end", b"")
            self._forget_if_over()
        self.backlog_changed(self._connection.send_low_water)

    def arrived(self, kind: str, value: bytes | int) -> None:
        """Take what the peer's end posted."""
        if isinstance(value, bytes):
            self._receiving_over = self._receiving_over or kind == "end"
            self.data_received(value, kind == "end")
        elif kind == "reset":
            self._receiving_over = True
            self.peer_reset(value)
        elif kind == "stop" and not self._sending_over:
            self.peer_stopped(value)
            self.engine_reset(value)
        elif kind == "credit":
            self._credit += value
            self.pump()
        self._forget_if_over()

    def _end_sending(self) -> None:
        self._sending_over = True
        self._finish_queued = False
        self._unsent.clear()
        self._unsent_size = 0

    def _forget_if_over(self) -> None:
        if self._sending_over and self._receiving_over:
            self._memory.stream_over(self.stream_id)


class MemoryConnection(BufferedConnection):
    """One end of a connection in memory."""

    def __init__(self, address: Address, peer: Address, *, limits: MemoryLimits, opens: int) -> None:
        super().__init__(address, peer)
        self.limits = limits
        self.credit = limits.connection_window
        self._other: MemoryConnection | None = None
        self._opens = opens  # the lowest bit of the stream ids that this end opens
        self._next_id = opens
        self._streams_left = limits.streams
        self._posted: deque[tuple[int, str, bytes | int]] = deque()
        self._bytes_sent = 0
        self._bytes_received = 0

    def join(self, other: MemoryConnection) -> None:
        """Make `other` the far end."""
        self._other = other

    def post(self, stream_id: int, kind: str, value: bytes | int) -> None:
        """Let the far end have this at the loop's next turn, after what was posted before."""
        if self.closed is not None:
            return
        if not self._posted:
            self._loop.call_soon(self._carry)
        self._posted.append((stream_id, kind, value))

    def stream_over(self, stream_id: int) -> None:
        """Both directions are over at this end."""
        if stream_id in self.streams:
            mine = stream_id & 1 == self._opens
            self.forget_stream(stream_id, peer_opened=not mine)
            if not mine:
                self.post(stream_id, "room", 1)

    def arrived(self, stream_id: int, kind: str, value: bytes | int) -> None:
        """Take what the far end posted."""
        if self.closed is not None:
            return
        if isinstance(value, int) and kind == "credit":
            self.credit += value
        if kind == "room":
            self._streams_left += 1
            self.streams_available()
        elif kind == "datagram" and isinstance(value, bytes):
            self.datagram_arrived(value)
        elif kind == "open":
            self.peer_opened(MemoryStream(self, stream_id))
        elif (stream := self.streams.get(stream_id)) is not None:
            if isinstance(value, bytes):
                self._bytes_received += len(value)
            assert isinstance(stream, MemoryStream)
            stream.arrived(kind, value)
        elif isinstance(value, bytes):
            self.post(stream_id, "credit", len(value))  # nobody will consume it
        if kind == "credit":
            for blocked in tuple(self.streams.values()):
                if self.credit and blocked.engine_unsent_backlog() and isinstance(blocked, MemoryStream):
                    blocked.pump()

    def lose(self, reason: str = "lost", *, idle: bool = True) -> None:
        """End the connection as if the network had failed: this end knows at once, the other never hears of it."""
        self._posted.clear()
        self.connection_lost(ConnectionClosedInfo(code=0, reason=reason, local=False, idle=idle))

    def engine_open_stream(self) -> BufferedStream | None:
        """See `BufferedConnection`."""
        if not self._streams_left:
            return None
        self._streams_left -= 1
        stream = MemoryStream(self, self._next_id)
        self._next_id += 4
        self.add_stream(stream)
        self.post(stream.stream_id, "open", 0)
        return stream

    def engine_send_datagram(self, data: bytes) -> bool:
        """See `BufferedConnection`."""
        if len(data) > MEMORY_DATAGRAM:
            return False
        self.post(0, "datagram", data)
        return True

    def engine_unsent_total(self) -> int:
        """See `BufferedConnection`."""
        return sum(stream.engine_unsent_backlog() for stream in self.streams.values())

    def engine_close(self, code: int, reason: str) -> None:
        """See `BufferedConnection`."""
        other = self._other
        if other is not None:
            self._carry()
            info = ConnectionClosedInfo(code=code, reason=reason, local=False, idle=False)
            self._loop.call_soon(other.connection_lost, info)

    def statistics(self) -> Statistics:
        """See `Connection.statistics`."""
        return Statistics(
            engine="memory",
            bytes_sent=self._bytes_sent,
            bytes_received=self._bytes_received,
            datagrams_dropped=self.datagrams_dropped,
            streams_open=len(self.streams),
            bytes_undelivered=self.engine_unsent_total(),
        )

    def _carry(self) -> None:
        other = self._other
        while self._posted:
            stream_id, kind, value = self._posted.popleft()
            if isinstance(value, bytes):
                self._bytes_sent += len(value)
            if other is not None:
                other.arrived(stream_id, kind, value)


def memory_pair(*, limits: MemoryLimits | None = None) -> tuple[MemoryConnection, MemoryConnection]:
    """Return two joined ends: one that opens streams 0, 4, 8 ..., one that opens 1, 5, 9 ... (RFC 9000 2.1).

    Call it inside a running loop.
    """
    limits = limits or MemoryLimits()
    first, second = ("memory", 1), ("memory", 2)
    client = MemoryConnection(first, second, limits=limits, opens=0)
    server = MemoryConnection(second, first, limits=limits, opens=1)
    client.join(server)
    server.join(client)
    return client, server
