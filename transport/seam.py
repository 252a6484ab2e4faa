"""The seam every transport offers: a Connection of Streams and datagrams.

The connector and the edge see only this; which engine (memory, aioquic, qh3, HTTP/2) is behind it is decided
in `transport.quic` and its siblings. Each `*_nowait` method is the same act without a suspension: the hot path
uses it and falls back to awaiting only when nothing is there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from pyconnector.transport.errors import TransportError

if TYPE_CHECKING:
    from pyconnector.transport.settings import ServerTls

#: Bytes of unsent data in one stream above which `send` waits.
SEND_HIGH_WATER = 256 * 1024
#: Bytes of unsent data in one stream at which waiting senders go on.
SEND_LOW_WATER = 64 * 1024
#: Largest piece that one `receive` returns unless told otherwise.
RECEIVE_LIMIT = 64 * 1024

Address: TypeAlias = tuple[str, int]


class Stream(ABC):
    """One bidirectional stream. Each direction has one user at a time."""

    __slots__ = ()

    #: The number of the stream on its connection.
    stream_id: int

    @abstractmethod
    async def receive(self, limit: int = RECEIVE_LIMIT) -> bytes:
        """Return 1..`limit` bytes, or b"" once the peer finished sending.

        Cancel at any time: no byte is lost. Bytes returned here count as consumed, which is what gives the peer new
        credit.

        Raises:
            StreamReset: the peer aborted its sending side.
            ConnectionClosed: the connection ended first.
            StreamClosed: this side called `stop`.
            StreamBusy: another task is already receiving.
        """

    @abstractmethod
    def receive_nowait(self, limit: int = RECEIVE_LIMIT) -> bytes | None:
        """As `receive`, but return None where `receive` would wait."""

    @abstractmethod
    async def send(self, data: bytes) -> None:
        """Queue `data`, then wait while the unsent backlog is above the high watermark.

        Cancel while waiting: all of `data` is queued and will be sent.

        Raises:
            StreamReset: the peer asked to stop.
            ConnectionClosed: the connection ended.
            StreamClosed: this side already finished or reset.
            StreamBusy: another task is already sending.
        """

    @abstractmethod
    def send_nowait(self, data: bytes, *, finish: bool = False) -> bool:
        """Queue `data` (and the end of the stream with `finish`) at once.

        Returns True where the backlog is above the high watermark: the caller must then `await drain()` before it sends
        more. False with `finish`, for nothing follows. Raises as `send`.
        """

    @abstractmethod
    async def drain(self) -> None:
        """Wait until the unsent backlog is at the low watermark. Cancel at any time. Raises as `send`."""

    @abstractmethod
    def finish(self) -> None:
        """End the sending side after what is queued (FIN). Doing it again, or after `reset`, is a no-op."""

    @abstractmethod
    def reset(self, code: int = 0) -> None:
        """Abort the sending side (RESET_STREAM): queued data may be lost. A no-op once finished data was all sent."""

    @abstractmethod
    def stop(self, code: int = 0) -> None:
        """Refuse to receive more (STOP_SENDING) and drop what is buffered. A no-op after the end was received."""

    def read_for(self, reader: Hashable) -> None:  # noqa: B027 - an engine whose streams do not hold each other up
        """Say for whom this stream is read: a visitor, a service, anything that is equal for the same one.

        Where an engine has to give up streams because nobody reads them and all others wait for that (qh3), it gives up
        those of one reader together, those of whoever holds most first. Call it once, early; it never raises.
        """

    @abstractmethod
    def set_abort_callback(self, callback: Callable[[], None] | None) -> None:
        """Call `callback` once, at the loop's next turn at the latest, when the peer resets its side, asks us to stop,
        or the connection ends before both directions did. Called at once if that already happened."""


@dataclass(slots=True)
class UdpCounts:
    """What a UDP socket carried: datagrams, and in how many calls of the system."""

    sent: int = 0
    send_calls: int = 0
    received: int = 0
    receive_calls: int = 0
    "Those that brought something."


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Counters of one connection. Times in seconds, sizes in bytes. None where an engine cannot tell."""

    engine: str
    bytes_sent: int = 0
    bytes_received: int = 0
    datagrams_dropped: int = 0
    packets_lost: int | None = None
    rtt_smoothed: float | None = None
    rtt_latest: float | None = None
    rtt_minimum: float | None = None
    congestion_window: int | None = None
    streams_open: int = 0
    bytes_undelivered: int = 0
    "What waits to be sent, or was sent and not acknowledged yet: more or less, but 0 once the peer has everything."
    udp: UdpCounts | None = None
    "Of the connection's socket, which those of a server share; None where there is none."


class Connection(ABC):
    """One connection to a peer: streams either side opens, and unreliable datagrams."""

    local_address: Address
    peer_address: Address

    @abstractmethod
    async def accept_stream(self) -> Stream:
        """Return the next stream that the peer opened. Cancel at any time: no stream is lost.

        Raises:
            ConnectionClosed: the connection ended and every stream opened before was taken.
        """

    @abstractmethod
    def set_stream_handler(self, handler: Callable[[Stream], None]) -> None:
        """Hand each peer-opened stream to `handler` at once, in place of queueing it for `accept_stream`.

        Streams already queued are handed over in this call. `handler` must not raise or block.
        """

    @abstractmethod
    async def open_stream(self) -> Stream:
        """Open a bidirectional stream, waiting while the peer's stream limit is reached. Cancel at any time.

        Raises:
            ConnectionClosed: the connection ended.
        """

    def open_unidirectional(self) -> Stream:
        """Open a stream that only this side sends on (RFC 9000 2.1). Those of the peer come as its other streams do,
        told apart by bit 2 of their number.

        Raises:
            TransportError: the peer allows none (any more), the connection ended, or this transport has none.
        """
        raise TransportError("this transport has no unidirectional streams")

    @abstractmethod
    def send_datagram(self, data: bytes) -> bool:
        """Send one unreliable datagram; False where it is too large for the path or the queue is full (dropped)."""

    def largest_datagram(self) -> int:
        """Return the length up to which `send_datagram` finds a datagram small enough now; 0 where there are none."""
        return 0

    @abstractmethod
    async def receive_datagram(self) -> bytes:
        """Return the next datagram. Excess beyond the queue bound was dropped. Cancel at any time.

        Raises:
            ConnectionClosed: the connection ended.
        """

    def set_datagram_handler(self, handler: Callable[[bytes], None]) -> None:  # noqa: B027 - HTTP/2 has no datagrams
        """Hand each datagram to `handler` at once, in place of queueing it for `receive_datagram`.

        Datagrams already queued are handed over in this call. `handler` must not raise or block. A transport without
        datagrams never calls it.
        """

    @abstractmethod
    def statistics(self) -> Statistics:
        """Return the counters as they are now."""

    @abstractmethod
    def close(self, code: int = 0, reason: str = "") -> None:
        """Close at once (application CONNECTION_CLOSE); streams end with ConnectionClosed. Idempotent."""

    @abstractmethod
    async def wait_closed(self) -> ConnectionClosedInfo:
        """Wait until the connection ended, however that came, and say how. Cancel at any time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionClosedInfo:
    """How a connection ended."""

    code: int
    reason: str
    local: bool
    idle: bool


class Listener(ABC):
    """A bound server socket that hands each new connection to its callback."""

    address: Address

    @abstractmethod
    def show(self, tls: ServerTls) -> None:
        """Show another certificate to whoever comes from now on.

        Raises:
            ConnectFailed: certificate and key do not fit; the one before stays.
        """

    @abstractmethod
    async def close(self) -> None:
        """Close every connection and the socket. Idempotent. Cancel leaves the socket closed."""
