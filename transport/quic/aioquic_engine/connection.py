"""The aioquic engine's Connection: a QUIC core, its timer, and the user's side of it.

Everything is driven by three calls of the loop: datagrams arrived, something is to be sent, the timer fired. What
several streams want to send in one turn of the loop leaves together at its end.

Time is `time.monotonic`: loops other than asyncio's own round theirs to milliseconds, too coarse for round trips.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from aioquic.quic import events
from aioquic.quic.connection import QuicConnectionAdapter, QuicConnectionState

from pyconnector.transport.buffers.connection import BufferedConnection
from pyconnector.transport.errors import TransportError
from pyconnector.transport.quic.aioquic_engine.hybrid_group import HybridContext, is_available
from pyconnector.transport.quic.aioquic_engine.receiving import ReceivingCore
from pyconnector.transport.quic.aioquic_engine.recovery import make_recovery
from pyconnector.transport.quic.failures import idle_reason, standstill_reason
from pyconnector.transport.quic.flow.patient_credit import CREDIT_STEP
from pyconnector.transport.quic.flow.standstill import Standstill
from pyconnector.transport.seam import Address, ConnectionClosedInfo, Statistics, UdpCounts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyconnector.transport.quic.aioquic_engine.recovery import QuickAcks
    from pyconnector.transport.quic.aioquic_engine.stream import AioquicStream
    from pyconnector.transport.settings import QuicSettings
    from pyconnector.transport.udp.batched import Datagram

#: A keep-alive is not sent more often than this many probe timeouts apart (the reference does the same).
KEEPALIVE_PROBES = 1.5
#: Seconds that the timer is set ahead at least: loops round to milliseconds, and would spin on less.
TIMER_STEP = 0.001


_HAS_HYBRID_GROUP = is_available()
# aioquic writes a line for every stream and every packet that looks odd; what matters reaches the user as an error.
_SILENCE = QuicConnectionAdapter(logging.Logger("aioquic", level=logging.CRITICAL), {"id": ""})


class Core(ReceivingCore):
    """The QUIC core of one AioquicConnection."""

    owner: AioquicConnection

    def __init__(self, *, hybrid_only: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self._hybrid_only = hybrid_only
        self._logger = _SILENCE
        algorithm = self._configuration.congestion_control_algorithm
        self._loss = make_recovery(self, algorithm)
        self.was_closed_by_peer = False
        self.has_timed_out = False

    def _initialize(self, peer_cid: bytes) -> None:
        super()._initialize(peer_cid)
        if _HAS_HYBRID_GROUP:
            HybridContext.adopt(self.tls, hybrid_only=self._hybrid_only)

    def wake(self) -> None:
        """See `StreamCore`."""
        self.owner.schedule_transmit()

    def stream_over(self, stream: AioquicStream) -> None:
        """See `StreamCore`."""
        stream_id = stream.stream_id
        self.owner.forget_stream(stream_id, peer_opened=self.is_peer_opened(stream_id))

    def credit_waits(self) -> None:
        """See `StreamCore`."""
        self.owner.schedule_credit()

    def datagram_frame(self, data: bytes) -> None:
        """See `ReceivingCore`."""
        self.owner.datagram_arrived(data)

    def path_changed(self, address: Address) -> None:
        """See `ReceivingCore`."""
        self.owner.peer_address = address

    def stream_limit_raised(self) -> None:
        """See `ReceivingCore`."""
        self.owner.streams_available()

    def _handle_connection_close_frame(self, *args: Any) -> None:
        super()._handle_connection_close_frame(*args)
        self.was_closed_by_peer = True

    @property
    def end(self) -> events.ConnectionTerminated | None:
        """Why the connection ended or is about to; None while it is up."""
        is_up = self._state in (QuicConnectionState.FIRSTFLIGHT, QuicConnectionState.CONNECTED)
        return None if is_up else self._close_event

    def handle_timer(self, now: float) -> None:
        """See `QuicConnection`."""
        if self._close_event is None and self._close_at is not None and now >= self._close_at:
            self.has_timed_out = True
        super().handle_timer(now)

    @property
    def is_unproven(self) -> bool:
        """Whether no packet of the peer could be opened yet."""
        return self._state is QuicConnectionState.FIRSTFLIGHT

    @property
    def idle_period(self) -> float:
        """After how much silence the connection ends."""
        return self._idle_timeout()

    @property
    def recovery(self) -> QuickAcks:
        """Loss recovery, with its measurements."""
        return self._loss


class AioquicConnection(BufferedConnection):
    """A connection of either end. `on_closed` tells its maker once; `on_id` of each connection ID (True: in use)."""

    def __init__(
        self,
        core: Core,
        addresses: tuple[Address, Address],
        settings: QuicSettings,
        *,
        send: Callable[[Sequence[Datagram]], None],
        on_closed: Callable[[AioquicConnection], None],
        on_id: Callable[[bytes, bool], None] | None = None,
    ) -> None:
        super().__init__(*addresses)
        self.core = core
        core.owner = self
        self.settings = settings
        self.established: asyncio.Future[bool] = self._loop.create_future()
        "True once the handshake completed, False where the connection ended before."
        self._send = send
        self._on_closed = on_closed
        self._on_id = on_id
        self.udp: UdpCounts | None = None
        "The counts of the socket behind `send`."
        self.farewell: bytes | None = None
        "The datagram that told the peer of the end, where this side ended the connection."
        self._is_transmit_scheduled = False
        self._is_receiving = False  # what is owed to the peer meanwhile is looked at afterwards
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._keepalive: asyncio.TimerHandle | None = None
        self._credit_step: asyncio.TimerHandle | None = None
        self._departed = 0  # of the core's, when senders were looked at last
        self._standstill = Standstill(settings.idle_timeout)
        self._bytes_sent = 0
        self._bytes_received = 0

    def connect(self) -> None:
        """Send the first flight of a client."""
        self.core.connect(self.peer_address, monotonic())
        self.transmit()

    def refused(self) -> None:
        """The peer's host says that nobody listens. It counts while connecting only: later it may be forged."""
        if not self.established.done():
            self._finish(ConnectionClosedInfo(code=0, reason="nothing listens there", local=False, idle=False))

    def datagrams_are_too_large(self, size: int) -> None:
        """This machine carries no datagrams of `size` bytes to the peer: no news where that was a probe for more."""
        if self.closed is None and size <= self.core.mtu.size and self.core.fall_back():
            self.transmit()

    def abandon_unless_proven(self) -> None:
        """Forget a connection that began with a packet which nothing opened."""
        if self.core.is_unproven and self.closed is None:
            self._finish(ConnectionClosedInfo(code=0, reason="not a first packet", local=True, idle=False))

    # -- the loop's calls ----------------------------------------------------------------------------------------

    def datagrams_received(self, datagrams: Sequence[Datagram]) -> None:
        """Take in what arrived for this connection."""
        if self._stood_still():
            return
        core, now = self.core, monotonic()
        self._is_receiving = True
        try:
            for data, address in datagrams:
                self._bytes_received += len(data)
                core.receive_datagram(data, address, now)
        finally:
            self._is_receiving = False
        self._after_input()
        if self.closed is None:
            if self.draining:
                self.wake_senders()
            if core.has_work:
                # Tasks that were woken run first, so that what they send can leave in the same packet.
                self.schedule_transmit()
            else:
                self._arm_timer()

    def schedule_transmit(self) -> None:
        """Send at the end of this turn of the loop what will be there by then."""
        if not self._is_transmit_scheduled and not self._is_receiving and self.closed is None:
            self._is_transmit_scheduled = True
            self._loop.call_soon(self.transmit)

    def transmit(self) -> None:
        """Send what may leave now."""
        self._is_transmit_scheduled = False
        if self.closed is not None:
            return
        self._flush()
        self._after_input()
        if self.closed is None:
            if self.draining:
                self.wake_senders()
            self._arm_timer()

    def _flush(self) -> None:
        datagrams = self.core.datagrams_to_send(monotonic())
        if datagrams:
            if self.core.end is not None:
                self.farewell = datagrams[-1][0]
            for data, _ in datagrams:
                self._bytes_sent += len(data)
            self._send(datagrams)

    def _arm_timer(self) -> None:
        at = self.core.get_timer()
        if at is None:
            return
        if self._timer is not None:
            if self._timer_at <= at:
                return  # it finds out when it fires; most timers only ever move away
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_later(max(at - monotonic(), TIMER_STEP), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._stood_still():
            return
        now, at = monotonic(), self.core.get_timer()
        if at is not None and now >= at:
            self.core.handle_timer(now)
            self.transmit()
        else:
            self._arm_timer()

    def _stood_still(self) -> bool:
        """Whether nobody looked at this connection for longer than the idle timeout, which ends it."""
        passed = self._standstill.look()
        if not passed or not self.established.done():
            return False
        self._finish(ConnectionClosedInfo(code=0, reason=standstill_reason(passed), local=False, idle=True))
        return True

    def schedule_credit(self) -> None:
        """Let the next step of patient credit happen."""
        if self._credit_step is None and self.closed is None:
            self._credit_step = self._loop.call_later(CREDIT_STEP, self._on_credit_step)

    def _on_credit_step(self) -> None:
        self._credit_step = None
        if self.core.grant_patient_credit(monotonic()):
            self.schedule_credit()

    def _on_keepalive(self) -> None:
        if self._stood_still():
            return
        now = monotonic()
        interval = self._keepalive_interval()
        idle = now - self.core.last_received
        if idle >= interval:
            self.core.send_ping(0)
            self.schedule_transmit()
            idle = 0.0
        self._keepalive = self._loop.call_later(interval - idle, self._on_keepalive)

    def _keepalive_interval(self) -> float:
        core = self.core
        interval = min(self.settings.keepalive, core.idle_period / 2)
        return max(interval, KEEPALIVE_PROBES * core.recovery.get_probe_timeout())

    # -- what happened -------------------------------------------------------------------------------------------

    def _after_input(self) -> None:
        core = self.core
        if core.newly_opened:
            opened, core.newly_opened = core.newly_opened, []
            for stream in opened:
                if stream.is_aborted:
                    # Opened and reset before anyone looked: nothing that a user could act upon.
                    stream.reset()
                else:
                    self.peer_opened(stream)
                    if stream.is_over:  # a unidirectional one that came as a whole
                        self.forget_stream(stream.stream_id, peer_opened=True)
        while (event := core.next_event()) is not None:
            if isinstance(event, events.HandshakeCompleted):
                self._handshake_completed()
            elif isinstance(event, events.ConnectionIdIssued) and self._on_id is not None:
                self._on_id(event.connection_id, True)
            elif isinstance(event, events.ConnectionIdRetired) and self._on_id is not None:
                self._on_id(event.connection_id, False)
        end = core.end
        if end is not None and self.closed is None:
            idle = core.has_timed_out
            by_peer = core.was_closed_by_peer or idle
            silence = idle_reason(self.settings.idle_timeout)
            code, reason = (0, silence) if idle else (int(end.error_code), end.reason_phrase)
            self._finish(ConnectionClosedInfo(code=code, reason=reason, local=not by_peer, idle=idle))

    def _handshake_completed(self) -> None:
        if not self.established.done():
            self.established.set_result(True)
        if self.settings.keepalive:
            self._keepalive = self._loop.call_later(self._keepalive_interval(), self._on_keepalive)

    def _finish(self, info: ConnectionClosedInfo) -> None:
        for timer in (self._timer, self._keepalive, self._credit_step):
            if timer is not None:
                timer.cancel()
        self.connection_lost(info)
        if not self.established.done():
            self.established.set_result(False)
        self._on_closed(self)

    def wake_senders(self) -> None:
        """See `BufferedConnection`. Runs after every packet in or out, with many streams that wait: mostly in vain."""
        departed = self.core.departed
        if departed != self._departed:
            self._departed = departed
            low = self.send_low_water
            for stream in cast("set[AioquicStream]", self.draining):
                if stream.queue.unsent <= low:
                    stream.backlog_changed(low)

    # -- what BufferedConnection asks ----------------------------------------------------------------------------

    def engine_open_stream(self) -> AioquicStream | None:
        """See `BufferedConnection`."""
        stream = self.core.open_stream()
        if stream is not None:
            self.add_stream(stream)
        return stream

    def open_unidirectional(self) -> AioquicStream:
        """See `Connection.open_unidirectional`."""
        if self.closed is not None:
            raise self.closed_error()
        stream = self.core.open_unidirectional()
        if stream is None:
            raise TransportError("the peer allows no more unidirectional streams")
        self.add_stream(stream)
        return stream

    def largest_datagram(self) -> int:
        """Return the size up to which a datagram fits into one packet now; 0 where the peer takes none."""
        return self.core.largest_datagram()

    def engine_send_datagram(self, data: bytes) -> bool:
        """See `BufferedConnection`."""
        return self.core.queue_datagram(data)

    def engine_unsent_total(self) -> int:
        """See `BufferedConnection`."""
        return self.core.unsent

    def engine_close(self, code: int, reason: str) -> None:
        """See `BufferedConnection`."""
        self.core.close(error_code=code, reason_phrase=reason)
        self._flush()
        self._finish(ConnectionClosedInfo(code=code, reason=reason, local=True, idle=False))

    def statistics(self) -> Statistics:
        """See `Connection.statistics`."""
        loss = self.core.recovery
        smoothed, latest, minimum = loss.round_trips or (None, None, None)
        return Statistics(
            engine="aioquic",
            bytes_sent=self._bytes_sent,
            bytes_received=self._bytes_received,
            datagrams_dropped=self.datagrams_dropped,
            packets_lost=loss.packets_lost,
            rtt_smoothed=smoothed,
            rtt_latest=latest,
            rtt_minimum=minimum,
            congestion_window=loss.window,
            streams_open=len(self.streams),
            bytes_undelivered=self.core.undelivered,
            udp=self.udp,
        )
