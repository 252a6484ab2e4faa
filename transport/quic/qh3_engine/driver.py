"""The outward side of a qh3 connection: when packets leave, and the one timer. `Qh3Connection` builds on it.

Time is `time.monotonic`, because loops other than asyncio's own round theirs to milliseconds, and the core measures
round trips with it.
"""

from __future__ import annotations

import contextlib
import logging
from abc import abstractmethod
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING

from pyconnector.transport.buffers.connection import BufferedConnection
from pyconnector.transport.quic.failures import idle_reason, standstill_reason
from pyconnector.transport.quic.flow.black_hole import BlackHole
from pyconnector.transport.quic.flow.standstill import Standstill
from pyconnector.transport.quic.qh3_engine.prepared import Prepared
from pyconnector.transport.quic.qh3_engine.send_share import SendShares
from pyconnector.transport.seam import ConnectionClosedInfo, Statistics

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from pyconnector.transport.quic.qh3_engine.internals import NativeQuic, QuicConnectionCore
    from pyconnector.transport.seam import Address
    from pyconnector.transport.settings import QuicSettings
    from pyconnector.transport.udp.batched import Datagram, UdpEndpoint

log = logging.getLogger(__name__)

_ACK_TIMER = "ack_application"
#: The core's state between handshake and closing.
CONNECTED = "connected"

#: Datagrams of one batch towards the socket, after which it is asked whether it is full.
FLUSH_BATCH = 256
#: Bytes in flight above which nobody may queue more: the core's loss-based window grows until a queue somewhere on the
#: path is full, and what is in flight stays in its buffers.
IN_FLIGHT_LIMIT = 4 * 1024 * 1024
#: Bytes written in one turn of the loop that wait for each other: a fifth more small requests a second than with no
#: such bound. Tiny messages share their packets.
FLUSH_BYTES = 8 * 1024
#: The control stream and one other.
FEW_STREAMS = 2
#: Longest an acknowledgement waits for data to ride with; the 25 ms that we advertise, less a timer's lateness.
ACK_DELAY = 0.020
#: Seconds that the timer is set ahead at least: loops round to milliseconds, and would spin on less.
TIMER_STEP = 0.001
#: Unreliable datagrams that wait for congestion control; more are dropped (wire.md 2).
OUTGOING_DATAGRAMS = 256
#: Bytes of a packet around a DATAGRAM's data: header, frame, authentication tag.
DATAGRAM_OVERHEAD = 1 + 20 + 4 + 3 + 16
#: What of that the peer's limit of a frame counts.
DATAGRAM_FRAME_OVERHEAD = 3
#: What the core says where a server may send so little more to an address that has not shown itself (RFC 9000 8.1) that
#: no packet fits: what is left waits for the client's next packet.
CRAMPED = "packet builder capacity exhausted"
#: Bytes of a reason that the peer is told: more may not fit a packet with the rest.
REASON_LIMIT = 512
#: Bytes of a packet: the core sends nothing of streams where congestion control allows less.
PACKET = 1500
#: Transport error code (RFC 9000 20.1).
INTERNAL_ERROR, NO_ERROR = 0x1, 0x0


class Qh3Driver(BufferedConnection):
    """A connection over a socket that it may share."""

    def __init__(self, quic: NativeQuic, endpoint: UdpEndpoint, peer_address: Address, settings: QuicSettings) -> None:
        super().__init__(endpoint.address, peer_address)
        self.core: QuicConnectionCore
        self.quic = quic
        self.endpoint = endpoint
        self.handshake_over: asyncio.Future[None] = self._loop.create_future()
        "Done once the handshake is complete, or the connection `closed` before."
        self.on_gone: Callable[[], None] | None = None
        "Called once, when the connection needs its socket no more."
        self._settings = settings
        self._is_client = quic.configuration.is_client
        self._is_gone = False
        self._flush_wanted = False
        self._written = 0  # bytes, since the last flush
        self._losses = self._probes = 0  # that the core knew of at the last flush
        self._sent = 0  # packets, in this flush
        self.prepared = Prepared()
        self.queued = 0
        "Events in the core."
        self.shares = SendShares()
        self._ack_at = 0.0  # when the acknowledgement leaves that waits for something to ride with; 0 for none
        self._receiving = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._last_heard = self._heard = monotonic()  # the former counts a PING as if it had been heard
        self._standstill = Standstill(settings.idle_timeout)
        self._base_size = max(settings.initial_packet_size, 1200)
        self._black_hole = BlackHole()
        self._outgoing: deque[bytes] = deque()

    def start(self) -> None:
        """Send a client's first packets."""
        self.quic.connect(self.peer_address, monotonic())
        self.core = self.quic.core
        self.flush()

    @abstractmethod
    def take_events(self) -> None:
        """Take what events the core has, as far as there is room for what they bring."""

    @abstractmethod
    def events_are_free(self) -> None:
        """Events that waited for packets to be sent can be taken."""

    @abstractmethod
    def own_deadline(self) -> float | None:
        """Return when `on_own_deadline` must be called, if ever."""

    @abstractmethod
    def on_own_deadline(self) -> None:
        """The time of `own_deadline` has come."""

    # -- sending -------------------------------------------------------------------------------------------------

    def want_flush(self) -> None:
        """Flush at the loop's next turn, or once what arrives now is dealt with, with all that is written till then."""
        if not self._flush_wanted:
            self._flush_wanted = True
            if not self._receiving:
                self._loop.call_soon(self._flush_if_wanted)

    def stream_written(self, size: int) -> None:
        """Flush as `want_flush` says; of much in one turn a part earlier, so that the peer can begin with it.

        At once where hardly another stream is there whose data could share the packet.
        """
        self._written += size
        if (self._written >= FLUSH_BYTES or len(self.streams) <= FEW_STREAMS) and not self._receiving:
            self.flush()
        else:
            self.want_flush()

    def stream_given_up(self) -> None:
        """A stream is reset or stopped, here or by the peer."""
        self.prepared.stream_given_up(monotonic(), len(self.streams))

    def acknowledgement_can_wait(self, *, brought: bool) -> bool:
        """Whether all that is to be sent is the acknowledgement of one packet; if so, it is sent after `ACK_DELAY`.

        The core would have it leave at once. Most often an answer soon takes it along, which saves both ends a packet
        for each request. The second packet in a row that `brought` anything is not kept waiting (RFC 9000 13.2.2); the
        peer's own late acknowledgement brings nothing.
        """
        if (self._ack_at and brought) or self.closed is not None or not self._is_only_acknowledgement():
            return False
        now = monotonic()
        self._ack_at = self._ack_at or now + ACK_DELAY
        self._arm(now)
        return True

    def _is_only_acknowledgement(self) -> bool:
        """Whether the core has nothing to send but an acknowledgement."""
        core = self.core
        if core.get_send_buffer_size(None) or self.shares.waiting or core.loss_total != self._losses:
            return False
        timer = core.get_timer()
        return timer is not None and timer[0] == _ACK_TIMER

    def _flush_if_wanted(self) -> None:
        if self._flush_wanted:
            self.flush()

    def flush(self) -> None:
        """Send what the core has to send, and see to the timer."""
        self._flush_wanted = False
        self._written = 0
        self._ack_at = 0.0
        if self._is_gone:
            return
        now = monotonic()
        self._sent = 0
        losses, probes = self.core.loss_total, self.core.pto_total
        if losses != self._losses or probes != self._probes:
            self.prepared.packets_given_up(now, len(self.streams), probes=probes != self._probes)
            self._losses, self._probes = losses, probes
        if self._outgoing:
            self._hand_over_datagrams()
        if self.shares.waiting:
            self.shares.hand_over()
        more = True
        while more and not self.endpoint.is_blocked:
            try:
                more = self._send_batch(now)
            except (ValueError, RuntimeError) as exc:
                if str(exc) == CRAMPED and not self.quic.is_established:
                    more = False
                else:
                    more = self.closed is None  # once more, so that the peer is told
                    self.fail(f"the QUIC core failed: {exc}")
        if not more and not self.queued and self.core.congestion_window - self.core.bytes_in_flight >= PACKET:
            self._repeat_stops(now)
        self._look_what_is_left(now, cut_short=more)
        self._arm(now)
        if self.draining:
            self.wake_senders()
        if self._is_client and self.closed is not None:
            self._leave()

    def _send_batch(self, now: float) -> bool:
        """Send one batch; False where the core had no more."""
        poll = self.core.poll_transmit
        only_peer = self.peer_address if self._is_client else None
        batch: list[Datagram] = []
        try:
            while len(batch) < FLUSH_BATCH:
                transmit = poll(now)
                if transmit is None:
                    return False
                batch.append((transmit[0], only_peer or transmit[1]))
            return True
        finally:
            if batch:
                self._sent += len(batch)
                self.endpoint.send(batch)

    def _repeat_stops(self, now: float) -> None:
        """Everything has left but STOP_SENDING of streams that were reset together with it: see `prepared`."""
        stops = self.prepared.stops_to_repeat()
        if not stops or self.closed is not None:
            return
        self.prepared.stream_given_up(now, len(self.streams))
        for stream_id, code in stops.items():
            with contextlib.suppress(ValueError, RuntimeError):
                self.core.stop_sending(stream_id, code)
        try:
            self._send_batch(now)
        except (ValueError, RuntimeError) as exc:
            self.fail(f"the QUIC core failed: {exc}")

    def _look_what_is_left(self, now: float, *, cut_short: bool) -> None:
        """Find out whether the core has frames prepared that did not leave; `cut_short` where the socket is full."""
        core, prepared = self.core, self.prepared
        if not cut_short and core.congestion_window - core.bytes_in_flight >= PACKET:
            freed = prepared.none_are_left()
        elif not (self.queued or prepared.is_risky(now)) or (self.queued and not cut_short and self._ping_passes(now)):
            freed = prepared.none_are_left()
        else:
            freed = prepared.some_are_left(0 if cut_short else self._sent, self.queued, len(self.streams))
        if freed:
            self.events_are_free()

    def _ping_passes(self, now: float) -> bool:
        """Whether the core sends a PING though congestion control allows nothing, as it does where none is prepared."""
        core = self.core
        if core.state != CONNECTED or not self.quic.is_established or not self.prepared.may_ask(self._sent):
            return False
        before = self._sent
        try:
            core.send_ping(0)
            self._send_batch(now)
        except (ValueError, RuntimeError) as exc:
            self.fail(f"the QUIC core failed: {exc}")
            return False
        return self._sent > before

    def _hand_over_datagrams(self) -> None:
        """DATAGRAM frames are not held back by the core, so what congestion control does not allow waits here."""
        core = self.core
        room = core.congestion_window - core.bytes_in_flight
        while self._outgoing and room > 0:
            data = self._outgoing.popleft()
            room -= len(data) + DATAGRAM_OVERHEAD
            with contextlib.suppress(ValueError, RuntimeError):
                core.send_datagram(data)

    # -- time ----------------------------------------------------------------------------------------------------

    def _arm(self, now: float) -> None:
        """Have the timer fire at the core's deadline, the next PING or the own deadline, whichever comes first.

        One that fires too early costs less than moving it with every packet, so it is only ever moved forward.
        """
        timer = self.core.get_timer()
        # Before there is a connection no PING is sent: its deadline would stay due for nothing.
        at = (self._last_heard if self.quic.is_established else now) + self._settings.keepalive
        if timer is not None and (timer[1] < at or self.closed is not None):
            at = self._ack_at or timer[1]
        own = self.own_deadline()
        if own is not None and own < at:
            at = own
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_later(max(at - now, TIMER_STEP), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._is_gone:
            return
        if self.stood_still():
            return
        now = monotonic()
        own = self.own_deadline()
        if self._ack_at - now > TIMER_STEP and own is None and self._is_only_acknowledgement():
            # Set for an acknowledgement that has ridden along; for the core the one that waits now is due already.
            self._arm(now)
            return
        try:
            self.core.handle_timer(now)
            self.take_events()  # first, because it may have been silent for too long
            if self.closed is None and self.quic.is_established and now >= self._last_heard + self._settings.keepalive:
                self.core.send_ping(0)
                self._last_heard = now  # of the next PING
        except (ValueError, RuntimeError) as exc:
            self.fail(f"the QUIC core failed: {exc}")
        if self.quic.is_established and self.closed is None:
            self._look_at_path(now)
        own = self.own_deadline()
        if own is not None and now >= own:
            self.on_own_deadline()
        self.flush()

    def stood_still(self) -> bool:
        """Whether nobody looked at this connection for longer than the idle timeout, which ends it."""
        passed = self._standstill.look()
        if not passed or self.closed is not None or not self.quic.is_established:
            return False
        self._silent(standstill_reason(passed))
        return True

    def datagrams_are_too_large(self, size: int) -> None:
        """This machine carries no datagrams of `size` bytes to the peer: no news where that was a probe for more."""
        if size <= self.core.active_path[5]:
            self._leave_size()

    def _look_at_path(self, now: float) -> None:
        """End what the core would keep: it waits three probe timeouts, which grow with every late answer, before it
        takes a silent peer for gone, and never sends smaller datagrams again."""
        if now - self._heard >= self._settings.idle_timeout + self._settings.keepalive:
            self._silent(idle_reason(self._settings.idle_timeout))
        elif self._black_hole.is_likely(now, probes=self.core.pto_count, total=self.core.pto_total, heard=self._heard):
            self._leave_size()

    def _leave_size(self) -> None:
        if self.closed is None and self._is_client and self.core.active_path[5] > self._base_size:
            # A new connection begins with small datagrams, and finds out anew what the path carries.
            self.fail("the path carries no large datagrams any more", NO_ERROR)

    def _silent(self, reason: str) -> None:
        self.lost(0, reason, local=False, idle=True)
        self._leave()

    # -- what waits to be sent -----------------------------------------------------------------------------------

    def engine_unsent_total(self) -> int:
        """See `BufferedConnection`."""
        return self.core.get_send_buffer_size(None) + self.shares.waiting_bytes

    @property
    def send_high_water(self) -> int:
        """See `BufferedConnection`."""
        return super().send_high_water if self.core.bytes_in_flight < IN_FLIGHT_LIMIT else 0

    @property
    def send_low_water(self) -> int:
        """See `BufferedConnection`."""
        return super().send_low_water if self.core.bytes_in_flight < IN_FLIGHT_LIMIT else -1

    # -- the seam ------------------------------------------------------------------------------------------------

    def largest_datagram(self) -> int:
        """See `Connection.largest_datagram`."""
        path, peer = (
            self.core.active_path[5] - DATAGRAM_OVERHEAD,
            self.quic.peer_datagram_frame - DATAGRAM_FRAME_OVERHEAD,
        )
        return max(min(path, peer), 0)

    def engine_send_datagram(self, data: bytes) -> bool:
        """See `BufferedConnection`."""
        if len(data) + DATAGRAM_OVERHEAD > self.core.active_path[5] or len(self._outgoing) >= OUTGOING_DATAGRAMS:
            return False
        self._outgoing.append(data)
        self.want_flush()
        return True

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
            bytes_undelivered=self.engine_unsent_total() + core.bytes_in_flight,
            udp=self.endpoint.counts,
        )

    # -- the end -------------------------------------------------------------------------------------------------

    def engine_close(self, code: int, reason: str) -> None:
        """See `BufferedConnection`."""
        if self.quic.is_started:
            with contextlib.suppress(ValueError, RuntimeError):
                self.core.close(code, None, reason.encode()[:REASON_LIMIT])
            self.flush()
        if self._is_client:
            # A server stays to answer what is under way with the same word; a client's port is wanted again.
            self._leave()

    def abandon(self) -> None:
        """Forget the connection without another word. Idempotent."""
        self.lost(0, "the connection was given up", local=True)
        self._leave()

    def fail(self, reason: str, code: int = INTERNAL_ERROR) -> None:
        """Close because of the peer's conduct or the engine's failure."""
        if self.closed is not None:
            return
        log.warning("closing the connection with %s: %s", self.peer_address, reason)
        with contextlib.suppress(ValueError, RuntimeError):
            self.core.close(code, 0, reason.encode()[:REASON_LIMIT])
        self.lost(code, reason, local=True)
        self.want_flush()

    def lost(self, code: int, reason: str, *, local: bool, idle: bool = False) -> None:
        """The connection ended: everyone who waits is told."""
        self.connection_lost(ConnectionClosedInfo(code=code, reason=reason, local=local, idle=idle))
        if not self.handshake_over.done():
            self.handshake_over.set_result(None)

    def _leave(self) -> None:
        """Nothing more will be sent: give up timer and socket. Idempotent."""
        self._is_gone = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        on_gone, self.on_gone = self.on_gone, None
        if on_gone is not None:
            on_gone()
