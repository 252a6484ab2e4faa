"""Delivery-rate samples from sent and acknowledged packets: draft-ietf-ccwg-bbr 4.1 (draft-cheng-iccrg-delivery-rate).

Called for every packet, so the state of a packet in flight is a plain tuple in one dict; the dict is as bounded as
the data in flight, which the congestion window limits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

#: size, send_time, first_send_time, delivered_time, delivered, is_app_limited, tx_in_flight, lost (4.1.2.1.2)
_PacketState: TypeAlias = tuple[int, float, float, float, int, bool, int, int]


@dataclass(slots=True)
class RateSample:
    """What the acknowledgments since the last sample say (4.1.2.1.3 and 2.3)."""

    rtt: float
    "Seconds from sending the newest acknowledged packet to its acknowledgment."
    delivery_rate: float
    "Bytes per second, 0 where no time passed."
    is_app_limited: bool
    delivered: int
    prior_delivered: int
    tx_in_flight: int
    "Bytes in flight just after the newest acknowledged packet was sent."
    lost: int
    "Bytes lost since that packet was sent."
    newly_acked: int
    newly_lost: int


@dataclass(slots=True, frozen=True)
class LostPacket:
    """What 5.5.10.2 asks of a packet that was declared lost."""

    size: int
    tx_in_flight: int
    lost: int
    "Bytes lost since this packet was sent, itself included."
    is_app_limited: bool


class DeliveryRateSampler:
    """The connection's delivery state (4.1.2.1.1): counts bytes delivered, lost and in flight, and makes samples."""

    __slots__ = (
        "_newest",
        "_newest_id",
        "_newly_acked",
        "_newly_lost",
        "_packets",
        "_rtt",
        "app_limited",
        "delivered",
        "delivered_time",
        "first_send_time",
        "inflight",
        "lost",
    )

    def __init__(self) -> None:
        self.delivered = 0
        self.lost = 0
        self.inflight = 0
        self.delivered_time = 0.0
        self.first_send_time = 0.0
        self.app_limited = 0
        "The value of `delivered` beyond which the connection is no longer application-limited; 0 when it is not."
        self._packets: dict[int, _PacketState] = {}
        self._newest: _PacketState | None = None
        self._newest_id = -1
        self._newly_acked = 0
        self._newly_lost = 0
        self._rtt = -1.0

    def __repr__(self) -> str:
        return f"<DeliveryRateSampler inflight={self.inflight} delivered={self.delivered} lost={self.lost}>"

    def on_sent(self, packet_id: int, size: int, now: float) -> None:
        """Snapshot the delivery state into the packet (4.1.2.2)."""
        inflight = self.inflight
        if not inflight:
            self.first_send_time = self.delivered_time = now
        self.inflight = inflight = inflight + size
        self._packets[packet_id] = (
            size,
            now,
            self.first_send_time,
            self.delivered_time,
            self.delivered,
            self.app_limited != 0,
            inflight,
            self.lost,
        )

    def on_acked(self, packet_id: int, now: float) -> None:
        """Count one newly acknowledged packet (4.1.2.3, UpdateRateSample). Unknown packets are ignored."""
        state = self._packets.pop(packet_id, None)
        if state is None:
            return
        size = state[0]
        self.inflight -= size
        self.delivered += size
        self.delivered_time = now
        self._newly_acked += size
        newest = self._newest
        if newest is None or (state[1], packet_id) > (newest[1], self._newest_id):
            self._newest = state
            self._newest_id = packet_id
            # The newest of this batch may be older than that of an earlier one: the send clock never goes back.
            if state[1] > self.first_send_time:
                self.first_send_time = state[1]

    def on_lost(self, packet_id: int) -> LostPacket | None:
        """Count one packet declared lost; None if it was not in flight."""
        state = self._packets.pop(packet_id, None)
        if state is None:
            return None
        size = state[0]
        self.inflight -= size
        self.lost += size
        if self._newest is not None:
            # A loss that a timer found belongs to no acknowledgment.
            self._newly_lost += size
        return LostPacket(size, state[6], self.lost - state[7], state[5])

    def on_expired(self, packet_id: int) -> None:
        """Forget a packet that is neither delivered nor lost: its keys were dropped, or a probe replaces it."""
        state = self._packets.pop(packet_id, None)
        if state is not None:
            self.inflight -= state[0]

    def on_rtt(self, rtt: float) -> None:
        """Take in an RTT measurement that knows more than the clock does, as of the peer's delay; the least counts."""
        if self._rtt < 0 or rtt < self._rtt:
            self._rtt = rtt

    def mark_app_limited(self) -> None:
        """There was room to send and nothing to send (4.1.2.4, MarkConnectionAppLimited)."""
        self.app_limited = max(self.delivered + self.inflight, 1)

    def generate(self) -> RateSample | None:
        """Close the batch of acknowledgments (4.1.2.3, GenerateRateSample); None if nothing was delivered in it."""
        if self.app_limited and self.delivered > self.app_limited:
            self.app_limited = 0
        newest = self._newest
        if newest is None:
            return None
        _, send_time, first_send_time, delivered_time, delivered, is_app_limited, tx_in_flight, lost = newest
        # By the packet sent last, so the least of those in the batch (4.2, 5.5.7.1).
        rtt = self.delivered_time - send_time
        if 0 <= self._rtt < rtt:
            rtt = self._rtt
        # Never below that round trip, since QUIC's acknowledgments are unambiguous: the draft's check is not needed.
        interval = max(send_time - first_send_time, self.delivered_time - delivered_time)
        data_acked = self.delivered - delivered
        sample = RateSample(
            rtt,
            data_acked / interval if interval > 0 else 0.0,
            is_app_limited,
            data_acked,
            delivered,
            tx_in_flight,
            self.lost - lost,
            self._newly_acked,
            self._newly_lost,
        )
        self._newest = None
        self._newly_acked = self._newly_lost = 0
        self._rtt = -1.0
        return sample
