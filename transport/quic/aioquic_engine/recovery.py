"""Loss recovery and pacing of the aioquic engine.

aioquic copies the numbers of all packets in flight for every acknowledgment, feeds congestion control with round trips
that include the peer's delay, and paces in bursts of 16 packets although the loop's timers are a millisecond apart,
which caps it at 20 MB/s. The classes here do the same work with a cost that follows what was acknowledged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aioquic.quic.packet_builder import QuicDeliveryState
from aioquic.quic.recovery import K_PACKET_THRESHOLD, K_TIME_THRESHOLD, QuicPacketPacer, QuicPacketRecovery

from pyconnector.transport.congestion.registry import BBR
from pyconnector.transport.quic.aioquic_engine.internals import recovery_options

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aioquic.quic.connection import QuicConnection
    from aioquic.quic.packet_builder import QuicSentPacket
    from aioquic.quic.rangeset import RangeSet
    from aioquic.quic.recovery import QuicPacketSpace

#: Round trips are not taken for shorter than this (aioquic does the same).
SHORTEST_ROUND_TRIP = 0.001
#: Pace above the rate that the window allows, or the window would never fill (RFC 9002 7.7).
PACING_GAIN = 1.25
#: One burst is what the rate allows in this time, for timers of a millisecond.
BURST_TIME = 0.002
#: One burst is at least this many packets (RFC 9002 7.7).
BURST_PACKETS = 10


class WindowPacer(QuicPacketPacer):
    """Spreads the congestion window over a round trip: a bucket of bytes that fills at the rate of the window."""

    def __init__(self, *, max_datagram_size: int) -> None:
        super().__init__(max_datagram_size=max_datagram_size)
        self._rate = 0.0
        self._burst = 0.0
        self._bytes = 0.0
        self._filled_at = 0.0
        self._reserved = 0  # built, and not yet paid for with its true size

    def begin(self) -> None:
        """Start an attempt to send: nothing is set aside yet."""
        self._reserved = 0

    def next_send_time(self, now: float) -> float | None:  # type: ignore[override]
        """Return None if a packet may leave now, else the time at which one may."""
        if not self._rate:
            return None
        if now > self._filled_at:
            self._bytes = min(self._burst, self._bytes + (now - self._filled_at) * self._rate)
            self._filled_at = now
        left = self._bytes - self._reserved
        return None if left > 0 else now + (self._max_datagram_size - left) / self._rate

    def update_after_send(self, now: float) -> None:
        """Set one packet of full size aside."""
        self._reserved += self._max_datagram_size

    def paid(self, size: int) -> None:
        """Take the true size of a packet out of the bucket."""
        self._bytes -= size

    def update_rate(self, congestion_window: int, smoothed_rtt: float) -> None:
        """Follow the window and the round trip."""
        if not self._rate:
            self._bytes = BURST_PACKETS * self._max_datagram_size
        self._rate = PACING_GAIN * congestion_window / max(smoothed_rtt, SHORTEST_ROUND_TRIP)
        self._burst = max(BURST_PACKETS * self._max_datagram_size, self._rate * BURST_TIME)


class QuickAcks(QuicPacketRecovery):
    """Handles an acknowledgment in time that follows what it newly acknowledges."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.packets_lost = 0

    @property
    def round_trip(self) -> float:
        """The smoothed round trip, or the initial guess."""
        return self._rtt_smoothed if self._rtt_initialized else self._rtt_initial

    @property
    def round_trips(self) -> tuple[float, float, float] | None:
        """Smoothed, latest and minimum round trip; None before the first sample."""
        return (self._rtt_smoothed, self._rtt_latest, self._rtt_min) if self._rtt_initialized else None

    @property
    def window(self) -> int:
        """The congestion window, for those who only look: reading `congestion_window` begins an attempt to send."""
        return self._cc.congestion_window

    @property
    def pacer(self) -> QuicPacketPacer:
        """Pacing, for those who ask it for many packets."""
        return self._pacer

    @property
    def probe_count(self) -> int:
        """How many probe timeouts passed without an answer."""
        return self._pto_count

    def probe_deadline(self, longest: float) -> float:
        """When what is in flight counts as unanswered; a probe timeout grows to `longest` seconds at most."""
        timeout = self.get_probe_timeout()
        backed_off = min(timeout * (1 << self._pto_count), longest)
        return self._time_of_last_sent_ack_eliciting_packet + max(timeout, backed_off)

    def probe_was_sent(self, now: float) -> None:
        """Run the timer for a packet that is not in flight."""
        self._time_of_last_sent_ack_eliciting_packet = now

    def packet_was_built(self, now: float) -> None:
        """Let pacing set a packet aside."""
        self._pacer.update_after_send(now=now)

    def next_send_time(self, now: float) -> float | None:
        """Return None if pacing lets a packet leave now, else the time at which one may."""
        return self._pacer.next_send_time(now=now)

    def on_packets_sent(self, packets: Iterable[QuicSentPacket], *, space: QuicPacketSpace, now: float) -> None:
        """Count what left in one go, once the handshake is confirmed."""
        for packet in packets:
            packet.sent_time = now
            self.on_packet_sent(packet=packet, space=space)

    def on_ack_received(self, *, ack_rangeset: RangeSet, ack_delay: float, now: float, space: QuicPacketSpace) -> None:
        """Take in one ACK frame (RFC 9002 A.7)."""
        largest = ack_rangeset[-1].stop - 1
        space.largest_acked_packet = max(space.largest_acked_packet, largest)
        acked = _newly_acked(space.sent_packets, ack_rangeset)
        if not acked:
            return
        is_ack_eliciting = False
        on_packet_acked, is_acked, sent = self._cc.on_packet_acked, QuicDeliveryState.ACKED, space.sent_packets
        for packet in acked:
            del sent[packet.packet_number]
            if packet.is_ack_eliciting:
                is_ack_eliciting = True
                space.ack_eliciting_in_flight -= 1
            if packet.in_flight:
                on_packet_acked(packet=packet, now=now)
            for handler, args in packet.delivery_handlers:
                handler(is_acked, *args)
        newest = acked[-1]
        if newest.packet_number == largest and is_ack_eliciting and newest.sent_time is not None:
            self._sample_round_trip(now - newest.sent_time, min(ack_delay, self.max_ack_delay), now)
        self._detect_loss(now=now, space=space)
        if self.peer_completed_address_validation:
            self._pto_count = 0

    def _sample_round_trip(self, sample: float, ack_delay: float, now: float) -> None:
        sample = max(sample, SHORTEST_ROUND_TRIP)
        self._rtt_min = min(self._rtt_min, sample)
        # RFC 9002 5.3 leaves samples below minimum and delay as they are; with a minimum that is cut off at a
        # millisecond that would take the delay for the round trip of a short path.
        self._rtt_latest = latest = max(sample - ack_delay, self._rtt_min)
        if self._rtt_initialized:
            self._rtt_variance += (abs(self._rtt_smoothed - latest) - self._rtt_variance) / 4
            self._rtt_smoothed += (latest - self._rtt_smoothed) / 8
        else:
            self._rtt_first_sample_time = now
            self._rtt_initialized = True
            self._rtt_variance = sample / 2
            self._rtt_smoothed = sample
        # Without the peer's delay: HyStart would take a delayed acknowledgment for a queue that builds up.
        self._cc.on_rtt_measurement(now=now, rtt=latest)
        self._pacer.update_rate(congestion_window=self._cc.congestion_window, smoothed_rtt=self._rtt_smoothed)

    def _detect_loss(self, *, now: float, space: QuicPacketSpace) -> None:
        delay = K_TIME_THRESHOLD * (
            max(self._rtt_latest, self._rtt_smoothed) if self._rtt_initialized else self._rtt_initial
        )
        largest = space.largest_acked_packet
        lost: list[QuicSentPacket] = []
        space.loss_time = None
        for packet_number, packet in space.sent_packets.items():
            if packet_number > largest:
                break
            lost_at = (packet.sent_time or 0.0) + delay
            if packet_number <= largest - K_PACKET_THRESHOLD or lost_at <= now:
                lost.append(packet)
            elif space.loss_time is None or space.loss_time > lost_at:
                space.loss_time = lost_at
        if lost:
            persistent = self._in_persistent_congestion(packets=lost)
            self._on_packets_lost(now=now, packets=lost, persistent_congestion=persistent, space=space)

    def _on_packets_lost(self, *, packets: Iterable[QuicSentPacket], **context: Any) -> None:
        lost = tuple(packets)
        self.packets_lost += len(lost)
        super()._on_packets_lost(packets=lost, **context)


class WindowRecovery(QuickAcks):
    """For the controllers that know a window only (cubic, reno)."""

    def __init__(self, *, max_datagram_size: int, **options: Any) -> None:
        super().__init__(max_datagram_size=max_datagram_size, **options)
        self._pacer = self._window_pacer = WindowPacer(max_datagram_size=max_datagram_size)

    @property
    def congestion_window(self) -> int:
        """The window. aioquic reads it once where it starts to build packets."""
        self._window_pacer.begin()
        return self._cc.congestion_window

    def on_ack_received(self, **context: Any) -> None:
        """Take in one ACK frame; a window of which less than half was in use does not grow (RFC 9002 7.8)."""
        window, in_flight = self._cc.congestion_window, self._cc.bytes_in_flight
        super().on_ack_received(**context)
        if self._cc.congestion_window > window > 2 * in_flight:
            self._cc.congestion_window = window

    def on_packet_sent(self, *, packet: QuicSentPacket, space: QuicPacketSpace) -> None:
        """Count a packet into flight and pay for it."""
        super().on_packet_sent(packet=packet, space=space)
        self._window_pacer.paid(packet.sent_bytes)


def make_recovery(connection: QuicConnection, algorithm: str) -> QuickAcks:
    """Return the recovery of a connection just made, in place of the one that aioquic gave it."""
    if algorithm == BBR:
        from pyconnector.transport.quic.aioquic_engine.bbr import make_bbr_recovery

        return make_bbr_recovery(connection)
    return WindowRecovery(
        congestion_control_algorithm=algorithm,
        **recovery_options(connection),
    )


def _newly_acked(sent: dict[int, QuicSentPacket], ranges: RangeSet) -> list[QuicSentPacket]:
    """Return the packets of `sent`, which is in order, that lie in `ranges`, which are too."""
    found: list[QuicSentPacket] = []
    following = iter(ranges)
    current = next(following)
    for packet_number, packet in sent.items():
        while packet_number >= current.stop:
            past = next(following, None)
            if past is None:
                return found
            current = past
        if packet_number >= current.start:
            found.append(packet)
    return found
