"""Carries `transport.congestion.Bbr` into aioquic: the only file of BBR that knows aioquic's classes.

aioquic's hook (`register_congestion_control`) tells of packets sent, acknowledged and lost, one at a time. BBR also
needs the end of an acknowledgment, a pacing rate of its own, and to know that the sender ran out of data; those come
from a recovery of its own (`make_recovery` of the engine asks for one) and its pacer. Without them BBR works from the
hook alone, with aioquic's pacer, which spreads the window over a round trip instead of pacing at BBR's rate.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from aioquic.quic.congestion.base import K_INITIAL_WINDOW, QuicCongestionControl, register_congestion_control
from aioquic.quic.recovery import QuicPacketPacer

from pyconnector.transport.congestion.bbr import Bbr
from pyconnector.transport.congestion.pacer import Pacer
from pyconnector.transport.congestion.registry import BBR
from pyconnector.transport.quic.aioquic_engine.internals import recovery_options, replace_recovery
from pyconnector.transport.quic.aioquic_engine.recovery import QuickAcks

if TYPE_CHECKING:
    from aioquic.quic.connection import QuicConnection
    from aioquic.quic.packet_builder import QuicSentPacket
    from aioquic.quic.rangeset import RangeSet
    from aioquic.quic.recovery import QuicPacketSpace

    from pyconnector.transport.congestion.bbr_state_machine import Uniform


class BbrCongestionControl(QuicCongestionControl):
    """aioquic's view of one `Bbr`. Acknowledgments gather until `settle`, so the model runs once per batch."""

    def __init__(self, *, max_datagram_size: int, uniform: Uniform | None = None) -> None:
        super().__init__(max_datagram_size=max_datagram_size)
        self.bbr = Bbr(
            smss=max_datagram_size,
            initial_cwnd=K_INITIAL_WINDOW * max_datagram_size,
            uniform=random.Random().random if uniform is None else uniform,
        )
        self.pacer = Pacer(smss=max_datagram_size)
        self.is_attached = False
        self.largest_packet = max_datagram_size
        self._unsettled_at: float | None = None
        # Bound once: these run for every packet.
        self._on_acked = self.bbr.sampler.on_acked
        self._on_sent = self.bbr.on_packet_sent
        self._sampler = self.bbr.sampler
        self._apply_controls()

    @property
    def bytes_in_flight(self) -> int:  # type: ignore[override]
        """Bytes sent, and neither acknowledged nor lost."""
        return self._sampler.inflight

    def on_packet_acked(self, *, now: float, packet: QuicSentPacket) -> None:
        """Gather one newly acknowledged packet."""
        self._unsettled_at = now
        self._on_acked(packet.packet_number, now)

    def on_packet_sent(self, *, packet: QuicSentPacket) -> None:
        """Count one packet into flight."""
        size = packet.sent_bytes
        if size > self.largest_packet:
            self._packets_have_grown(size)
        self._on_sent(packet.packet_number, size, packet.sent_time or 0.0)
        self.pacer.on_sent(size)

    def on_packets_sent(self, packets: Iterable[QuicSentPacket], now: float) -> None:
        """Count packets into flight that left in one go."""
        sampler, total = self._sampler, 0
        for packet in packets:
            size = packet.sent_bytes
            if size > self.largest_packet:
                self._packets_have_grown(size)
            if sampler.inflight:
                sampler.on_sent(packet.packet_number, size, now)
            else:
                self._on_sent(packet.packet_number, size, now)
            total += size
        self.pacer.on_sent(total)

    def on_packets_expired(self, *, packets: Iterable[QuicSentPacket]) -> None:
        """Forget packets that are neither acknowledged nor lost."""
        for packet in packets:
            self.bbr.on_packet_expired(packet.packet_number)

    def on_packets_lost(self, *, now: float, packets: Iterable[QuicSentPacket]) -> None:
        """Report losses; they count in the batch of acknowledgments that revealed them."""
        for packet in packets:
            self.bbr.on_packet_lost(packet.packet_number, now)

    def on_persistent_congestion(self) -> None:
        """Fall back to one packet."""
        self.settle()
        self.bbr.on_persistent_congestion()
        self._apply_controls()

    def on_rtt_measurement(self, *, now: float, rtt: float) -> None:
        """Take in an RTT sample of the newest packet."""
        self.bbr.on_rtt(rtt)
        if not self.is_attached:
            self.settle()

    def on_ack_received(self, ack_ranges: RangeSet) -> None:
        """Look whether packets taken for lost arrived after all."""
        if self.bbr.recovery.can_undo:
            self.bbr.on_late_acks(ack_ranges.__contains__)

    def settle(self) -> None:
        """Draw the conclusions of the gathered acknowledgments."""
        now = self._unsettled_at
        if now is not None:
            self._unsettled_at = None
            self.bbr.on_ack_end(now)
            self._apply_controls()

    def check_out_of_data(self) -> None:
        """Note it if the last attempt to send ended although window and pacer had room for a packet.

        Asked before acknowledgments and losses make room of their own (4.1.2.4 of the draft), once per attempt.
        """
        pacer = self.pacer
        if pacer.was_asked:
            pacer.was_asked = False
            if not pacer.is_holding and self._sampler.inflight + self.largest_packet <= self.congestion_window:
                self.bbr.on_out_of_data()

    def get_log_data(self) -> dict[str, Any]:
        """Return what qlog shows of the controller."""
        data = super().get_log_data()
        data["bbr-state"] = self.bbr.machine.state.label
        data["pacing_rate"] = int(self.bbr.controls.pacing_rate)
        return data

    def _packets_have_grown(self, size: int) -> None:
        # The path's MTU was probed; BBR counts in packets of the largest size (2.2 of the draft, C.SMSS).
        self.largest_packet = size
        self.bbr.model.set_smss(size)
        self.pacer.set_packet_size(size)

    def _apply_controls(self) -> None:
        controls = self.bbr.controls
        self.congestion_window = controls.cwnd
        self.pacer.set_rate(controls.pacing_rate, quantum=controls.send_quantum)


class BbrPacer(QuicPacketPacer):
    """aioquic's pacer, answering from BBR's departure clock."""

    def __init__(self, pacer: Pacer, *, max_datagram_size: int) -> None:
        super().__init__(max_datagram_size=max_datagram_size)
        self.next_send_time = pacer.next_send_time  # type: ignore[assignment,method-assign]
        self._pacer = pacer

    def update_after_send(self, now: float) -> None:
        """Set the time of one packet aside: its true size is known when it is registered as sent."""
        self._pacer.reserve()

    def update_rate(self, congestion_window: int, smoothed_rtt: float) -> None:
        """Ignore the window: BBR sets the rate when it settles."""


class BbrRecovery(QuickAcks):
    """The engine's recovery, which tells BBR where a batch of acknowledgments ends and when sending begins."""

    def __init__(self, *, max_datagram_size: int, uniform: Uniform | None = None, **options: Any) -> None:
        # The base class insists on a registered controller, and is given one without state of its own.
        super().__init__(congestion_control_algorithm="reno", max_datagram_size=max_datagram_size, **options)
        cc = BbrCongestionControl(max_datagram_size=max_datagram_size, uniform=uniform)
        cc.is_attached = True
        self._cc = self._bbr_cc = cc
        self._pacer = BbrPacer(cc.pacer, max_datagram_size=max_datagram_size)

    @property
    def congestion_window(self) -> int:
        """The window, settled. aioquic reads it once where it starts to build packets.

        It is a whole number of datagrams above what is in flight: a smaller rest would go out as a packet that costs
        as much work as a full one.
        """
        cc = self._bbr_cc
        cc.check_out_of_data()
        cc.settle()
        in_flight = cc.bytes_in_flight
        cc.pacer.begin(is_idle=not in_flight)
        room = cc.congestion_window - in_flight
        return in_flight + room - room % cc.largest_packet if room > 0 else in_flight

    def on_packets_sent(self, packets: Iterable[QuicSentPacket], *, space: QuicPacketSpace, now: float) -> None:
        """See `QuickAcks.on_packets_sent`."""
        sent, flying = space.sent_packets, []
        for packet in packets:
            packet.sent_time = now
            sent[packet.packet_number] = packet
            if packet.is_ack_eliciting:
                space.ack_eliciting_in_flight += 1
            if packet.in_flight:
                flying.append(packet)
        if flying:
            if any(packet.is_ack_eliciting for packet in flying):
                self._time_of_last_sent_ack_eliciting_packet = now
            self._bbr_cc.on_packets_sent(flying, now)

    def on_ack_received(self, *, ack_rangeset: RangeSet, **context: Any) -> None:
        """Pass an ACK frame on, and look for packets in it that had been taken for lost."""
        cc = self._bbr_cc
        cc.check_out_of_data()
        super().on_ack_received(ack_rangeset=ack_rangeset, **context)
        cc.on_ack_received(ack_rangeset)

    def on_loss_detection_timeout(self, *, now: float) -> None:
        """Handle the loss timer, which makes room that is no sign of an idle application."""
        self._bbr_cc.check_out_of_data()
        super().on_loss_detection_timeout(now=now)


def register() -> None:
    """Make "bbr" known to aioquic. Idempotent."""
    register_congestion_control(BBR, BbrCongestionControl)


def make_bbr_recovery(connection: QuicConnection, *, uniform: Uniform | None = None) -> BbrRecovery:
    """Return the recovery of a connection just made; `uniform` returns numbers in [0, 1), a seeded one for repeats."""
    return BbrRecovery(uniform=uniform, **recovery_options(connection))


def attach(connection: QuicConnection, *, uniform: Uniform | None = None) -> None:
    """Let BBR drive a plain aioquic connection, before `connect` and before its first datagram.

    Raises:
        ValueError: the connection has begun.
    """
    replace_recovery(connection, make_bbr_recovery(connection, uniform=uniform))
