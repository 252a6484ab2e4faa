"""One connection of the qh3 engine, either side: datagrams into the native core, its events out to streams.

Flow control. The core returns credit, for stream and connection at once, when an event is taken from its one queue.
So events are taken until `UNREAD_LIMIT` bytes wait unread in the connection's streams, and again as they are read.
What that costs: past the limit a stalled reader slows its neighbours, whose events wait behind its own, at most one
stream window of it. A reader that takes nothing for `STALL_LIMIT` seconds meanwhile loses its stream, lest it hold the
others for ever. What the core holds is bounded by its windows (`Windows`) and `HELD_EVENTS`.

The core's windows are fixed, so the peer is granted them from the start: they do not grow with the path as the
reference's do. Time is `time.monotonic`, because loops other than asyncio's own round it to milliseconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any

from transport.connection_buffers import PEER_STREAMS, BufferedConnection
from transport.quic.qh3_native import NativeQuic, Windows
from transport.quic.qh3_numbers import SkippedTooMany, StreamNumbers
from transport.quic.qh3_stream import Qh3Stream
from transport.seam import Address, ConnectionClosedInfo, Statistics

if TYPE_CHECKING:
    from collections.abc import Callable

    from qh3._hazmat import QuicConnectionCore

    from transport.settings import QuicSettings
    from transport.udp import Datagram, UdpEndpoint

log = logging.getLogger(__name__)

#: Datagrams of one batch towards the socket, after which it is asked whether it is full.
FLUSH_BATCH = 256
#: Seconds that a reader may take nothing while unread bytes hold the connection's events.
STALL_LIMIT = 5.0
#: Bytes to be read before events are taken again, so that it is not done for every read.
RESUME_STEP = 64 * 1024
#: Events that may wait in the core while none are taken; then the peer's packets are dropped unread.
HELD_EVENTS = 16384
#: Unreliable datagrams that wait for congestion control; more are dropped (wire.md 2).
OUTGOING_DATAGRAMS = 32
#: Seconds that the timer is set ahead at least: loops round to milliseconds, and would spin on less.
TIMER_STEP = 0.001
#: Bytes of a packet around a DATAGRAM's data: header, frame, authentication tag.
DATAGRAM_OVERHEAD = 1 + 20 + 4 + 3 + 16

#: Transport error codes (RFC 9000 20.1).
INTERNAL_ERROR, STREAM_LIMIT_ERROR = 0x1, 0x4
_IDLE_REASON = b"Idle timeout"


class Qh3Connection(BufferedConnection):
    """A connection over a socket that it may share. `on_gone` is called once it needs the socket no more."""

    def __init__(
        self,
        quic: NativeQuic,
        endpoint: UdpEndpoint,
        peer_address: Address,
        settings: QuicSettings,
        on_gone: Callable[[Qh3Connection], None],
    ) -> None:
        super().__init__(endpoint.address, peer_address)
        self.core: QuicConnectionCore
        quic.on_events = self._take_handshake_events
        self.quic = quic
        self.endpoint = endpoint
        self.handshake_over: asyncio.Future[None] = self._loop.create_future()
        "Done once the handshake is complete, or the connection `closed` before."
        self.on_connection_id: Callable[[bytes, bool], None] | None = None
        "Told of each connection ID that the core issues (True) or retires (False)."
        self._settings = settings
        self._on_gone: Callable[[Qh3Connection], None] | None = on_gone
        self._is_client = quic.configuration.is_client
        self._parity = 1 if self._is_client else 0  # of the numbers of streams that the peer opens
        self._numbers = StreamNumbers(self._parity)
        self._flush_wanted = False
        self._receiving = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._last_heard = monotonic()
        self._unread = 0
        self._unread_limit = Windows.of(settings).unread
        self._held_since: float | None = None  # since when unread bytes hold the events
        self._held_events = 0
        self._resuming = False
        self._outgoing: deque[bytes] = deque()

    def start(self) -> None:
        """Send a client's first packets."""
        self.quic.connect(self.peer_address, monotonic())
        self.core = self.quic.core
        self.flush()

    # -- in ------------------------------------------------------------------------------------------------------

    def receive(self, datagrams: list[bytes], address: Address) -> None:
        """Take what arrived from `address`: the one entrance of the network."""
        now = self._last_heard = monotonic()
        self._receiving = True
        try:
            if self.quic.is_established:
                self._receive_established(datagrams, address, now)
            else:
                self._receive_handshake(datagrams, address, now)
        finally:
            self._receiving = False
        if self._flush_wanted:
            self.flush()
        elif self._on_gone is not None:
            # Acknowledgements and credit go with what tasks write that were just woken.
            self.want_flush()

    def _receive_established(self, datagrams: list[bytes], address: Address, now: float) -> None:
        if self._held_since is not None:
            if self._held_events > HELD_EVENTS:
                return
            report = self.core.receive_many_datagrams(datagrams, address, now)
            self._held_events += report[5]
            if self.core.state != "connected":
                self._take_events()
            return
        try:
            self.core.receive_many_datagrams(datagrams, address, now)
        except (ValueError, RuntimeError) as exc:
            self._fail(f"the QUIC core failed: {exc}")
        self._take_events()

    def _receive_handshake(self, datagrams: list[bytes], address: Address, now: float) -> None:
        quic = self.quic
        try:
            quic.receive_many_datagrams(datagrams, address, now)
        except Exception as exc:  # noqa: BLE001 - TLS here is Python fed by strangers: whatever it raises ends this peer alone
            if not quic.is_started:
                return
            self._fail(f"the handshake failed: {exc!r}")
        if not quic.is_started:
            return
        self.core = quic.core
        if quic.failure is not None:
            self._lost(*quic.failure, local=True)
        elif quic.is_established and not self.handshake_over.done():
            self.handshake_over.set_result(None)
        self.want_flush()

    def _take_handshake_events(self) -> None:
        self.core = self.quic.core  # a Retry makes a new one
        self._take_events()

    def _take_events(self) -> None:
        """Take the core's events while the streams have room for what they bring."""
        next_event = self.core.next_event
        streams = self.streams
        limit = self._unread_limit
        while self._unread < limit or self.core.state != "connected":
            event = next_event()
            if event is None:
                self._held_since = None
                self._held_events = 0
                return
            kind = event[0]
            if kind == "stream_data":
                stream_id, data = event[1], event[2]
                stream = streams.get(stream_id)
                if stream is not None:
                    self._unread += len(data)
                    stream.data_received(data, event[3])
                elif self.closed is None:
                    self._opened(stream_id, data, event[3])
            elif kind == "stream_finished":
                stream_id = event[1]
                self.forget_stream(stream_id, peer_opened=stream_id & 1 == self._parity)
            else:
                self._take_rare_event(kind, event)
        if self._held_since is None and self.core.has_events:
            self._held_since = monotonic()
            self._arm(self._held_since)

    def _opened(self, stream_id: int, data: bytes, finished: bool) -> None:
        if not self._is_new(stream_id):
            return
        stream = Qh3Stream(self, stream_id)
        self._unread += len(data)
        # Data first, so that a handler finds the opening already there.
        stream.data_received(data, finished)
        self.peer_opened(stream)
        if self.peer_streams > 2 * PEER_STREAMS:
            self._fail("the peer opened too many streams", code=STREAM_LIMIT_ERROR)

    def _is_new(self, stream_id: int) -> bool:
        try:
            return self._numbers.is_new(stream_id)
        except SkippedTooMany:
            self._fail("the peer skipped too many streams", code=STREAM_LIMIT_ERROR)
            return False

    def _take_rare_event(self, kind: str, event: tuple[Any, ...]) -> None:
        if kind == "crypto_data":
            self._take_crypto(event)
        elif kind == "stream_reset":
            self._on_stream(event[1], "peer_reset", event[2])
        elif kind == "stop_sending":
            self._on_stream(event[1], "peer_stopped", event[2])
        elif kind == "datagram":
            self.datagram_arrived(event[1])
        elif kind == "streams_available":
            if not event[1]:
                self.streams_available()
        elif kind == "path_validated":
            self.peer_address = self.core.active_path[2][:2]
        elif kind in ("connection_id_issued", "connection_id_retired"):
            if self.on_connection_id is not None:
                self.on_connection_id(event[1], kind == "connection_id_issued")
        elif kind == "handshake_done":
            self.quic.confirm()
        else:
            self._take_end(kind, event)

    def _on_stream(self, stream_id: int, what: str, code: int) -> None:
        stream = self.streams.get(stream_id)
        if stream is None and self.closed is None and self._is_new(stream_id):
            stream = Qh3Stream(self, stream_id)
            self.peer_opened(stream)
        if stream is not None:
            getattr(stream, what)(code)

    def _take_crypto(self, event: tuple[Any, ...]) -> None:
        if not self.quic.is_established:
            self.quic.take_crypto(event)
            return
        try:
            self.quic.take_crypto(event)
        except Exception as exc:  # noqa: BLE001 - see _receive_handshake
            self._fail(f"TLS failed: {exc!r}")
        if self.quic.failure is not None:
            self._lost(*self.quic.failure, local=True)

    def _take_end(self, kind: str, event: tuple[Any, ...]) -> None:
        if kind == "peer_closed":
            self._lost(event[2], event[4].decode("utf-8", "replace"), local=False)
            self._gone()
        elif kind == "protocol_error":
            self._lost(event[1], f"the peer broke the protocol: {event[3]}", local=True)
            self.want_flush()
        elif kind == "connection_terminated":
            if event[3] == _IDLE_REASON:
                reason = f"nothing was heard from the peer for {self._settings.idle_timeout:g} s"
                self._lost(0, reason, local=False, idle=True)
            else:
                self._lost(event[1], event[3].decode("utf-8", "replace"), local=False)
            self._gone()

    # -- reading gives credit back -------------------------------------------------------------------------------

    def consumed(self, count: int) -> None:
        """`count` bytes were read or dropped: take events again once that makes room."""
        self._unread -= count
        if self._held_since is None:
            return
        self._held_since = monotonic()
        limit = self._unread_limit
        if not self._resuming and self._unread <= limit - min(RESUME_STEP, limit // 4):
            self._resuming = True
            self._loop.call_soon(self._resume)

    def _resume(self) -> None:
        self._resuming = False
        if self._on_gone is not None:
            self._take_events()
            self.flush()

    def _refuse_stalled(self) -> None:
        """Give up the stream with most unread bytes: nobody read anything while all others wait for it."""
        fullest = max(self.streams.values(), key=lambda stream: stream.buffered, default=None)
        if isinstance(fullest, Qh3Stream) and fullest.buffered:
            log.warning(
                "stream %d was given up: %d bytes unread for %g s", fullest.stream_id, fullest.buffered, STALL_LIMIT
            )
            fullest.refuse(0)
        elif self._unread:
            # What is left unread belongs to streams that are over: their readers alone can help that.
            self._held_since = monotonic()

    # -- out -----------------------------------------------------------------------------------------------------

    def want_flush(self) -> None:
        """Flush at the loop's next turn, or at the end of `receive`."""
        if not self._flush_wanted:
            self._flush_wanted = True
            if not self._receiving:
                self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Send what the core has to send, and see to the timer."""
        self._flush_wanted = False
        if self._on_gone is None:
            return
        core, endpoint = self.core, self.endpoint
        now = monotonic()
        if self._outgoing:
            self._hand_over_datagrams()
        poll = core.poll_transmit
        more = True
        while more and not endpoint.is_blocked:
            batch: list[Datagram] = []
            try:
                while len(batch) < FLUSH_BATCH:
                    transmit = poll(now)
                    if transmit is None:
                        more = False
                        break
                    batch.append((transmit[0], transmit[1]))
            except (ValueError, RuntimeError) as exc:
                self._fail(f"the QUIC core failed: {exc}")
                more = False
            if batch:
                endpoint.send(batch)
        self._arm(now)
        if self.draining:
            self.wake_senders()
        if self._is_client and self.closed is not None:
            self._gone()

    def _hand_over_datagrams(self) -> None:
        """DATAGRAM frames are not held back by the core, so what congestion control does not allow waits here."""
        core = self.core
        room = core.congestion_window - core.bytes_in_flight
        while self._outgoing and room > 0:
            data = self._outgoing.popleft()
            room -= len(data) + DATAGRAM_OVERHEAD
            with contextlib.suppress(ValueError, RuntimeError):
                core.send_datagram(data)

    def _arm(self, now: float) -> None:
        """Have the timer fire at the core's deadline, the next PING or the end of patience, whichever comes first.

        A timer that fires too early costs less than one that is moved with every packet, so it is only moved forward.
        """
        timer = self.core.get_timer()
        at = self._last_heard + self._settings.keepalive if self.closed is None else now + STALL_LIMIT
        if timer is not None and timer[1] < at:
            at = timer[1]
        if self._held_since is not None:
            at = min(at, self._held_since + STALL_LIMIT)
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_later(max(at - now, TIMER_STEP), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._on_gone is None:
            return
        now = monotonic()
        core = self.core
        try:
            core.handle_timer(now)
            if self.closed is None and self.quic.is_established and now >= self._last_heard + self._settings.keepalive:
                core.send_ping(0)
                self._last_heard = now  # of the next PING
        except (ValueError, RuntimeError) as exc:
            self._fail(f"the QUIC core failed: {exc}")
        if self._held_since is None or core.state != "connected":
            self._take_events()
        elif now >= self._held_since + STALL_LIMIT:
            self._refuse_stalled()
        self.flush()

    # -- the seam ------------------------------------------------------------------------------------------------

    def engine_open_stream(self) -> Qh3Stream | None:
        """See `BufferedConnection`."""
        try:
            stream_id = self.core.open_stream(False)
        except (ValueError, RuntimeError):
            return None
        stream = Qh3Stream(self, stream_id)
        self.add_stream(stream)
        return stream

    def engine_send_datagram(self, data: bytes) -> bool:
        """See `BufferedConnection`."""
        if len(data) + DATAGRAM_OVERHEAD > self.core.active_path[5] or len(self._outgoing) >= OUTGOING_DATAGRAMS:
            return False
        self._outgoing.append(data)
        self.want_flush()
        return True

    def engine_close(self, code: int, reason: str) -> None:
        """See `BufferedConnection`."""
        if self.quic.is_started:
            with contextlib.suppress(ValueError, RuntimeError):
                self.core.close(code, None, reason.encode())
            self.flush()
        if self._is_client:
            # A server stays to answer what is under way with the same word; a client's port is wanted again.
            self._gone()

    def abandon(self) -> None:
        """Forget the connection without another word. Idempotent."""
        self._lost(0, "the connection was given up", local=True)
        self._gone()

    def statistics(self) -> Statistics:
        """See `Connection.statistics`."""
        core = self.core
        _, _, _, sent, received, _ = core.active_path
        return Statistics(
            engine="qh3",
            bytes_sent=sent,
            bytes_received=received,
            datagrams_dropped=self.datagrams_dropped,
            packets_lost=core.loss_total,
            rtt_smoothed=core.smoothed_rtt,
            rtt_latest=core.latest_rtt,
            congestion_window=core.congestion_window,
            streams_open=len(self.streams),
        )

    # -- the end -------------------------------------------------------------------------------------------------

    def _fail(self, reason: str, code: int = INTERNAL_ERROR) -> None:
        """Close because of the peer's conduct or the engine's failure."""
        log.warning("closing the connection with %s: %s", self.peer_address, reason)
        with contextlib.suppress(ValueError, RuntimeError):
            self.core.close(code, 0, reason.encode())
        self._lost(code, reason, local=True)
        self.want_flush()

    def _lost(self, code: int, reason: str, *, local: bool, idle: bool = False) -> None:
        self.connection_lost(ConnectionClosedInfo(code=code, reason=reason, local=local, idle=idle))
        if not self.handshake_over.done():
            self.handshake_over.set_result(None)

    def _gone(self) -> None:
        """Nothing more will be sent: give up timer and socket."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        on_gone, self._on_gone = self._on_gone, None
        if on_gone is not None:
            on_gone(self)
