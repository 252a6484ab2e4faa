"""The sending half of the aioquic engine's QUIC connection: when packets leave and what they carry in which order.

An established connection takes a short way past aioquic's general one. Acknowledgments ride with data where they can,
and the path is probed for larger datagrams.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aioquic.quic.connection import QuicConnectionId, QuicConnectionState, QuicNetworkPath
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import QuicPacketType
from aioquic.quic.packet_builder import QuicDeliveryState, QuicPacketBuilder, QuicPacketBuilderStop
from aioquic.quic.recovery import QuicPacketSpace
from aioquic.tls import Epoch

from pyconnector.transport.quic.aioquic_engine.frames import StreamCore
from pyconnector.transport.quic.aioquic_engine.packets import OneRttBuilder
from pyconnector.transport.quic.path_mtu import PathMtu

if TYPE_CHECKING:
    from pyconnector.transport.seam import Address

#: Longest an acknowledgment waits for data to ride with; the 25 ms that aioquic advertises, less a timer's lateness.
ACK_DELAY = 0.020
#: Probe timeouts without an answer after which larger datagrams are suspected of vanishing.
BLACK_HOLE_PROBES = 3
#: Probe timeouts without an answer after which a probe is accompanied by one that holds nothing but a PING: later than
#: larger datagrams are suspected, because its answer says nothing about these.
SMALL_PROBES = BLACK_HOLE_PROBES + 1
#: Seconds that a probe timeout grows to at most by backing off: probes so far apart harm no path, and the longer they
#: wait, the longer nobody knows that it carries again. RFC 9002 6.2.1 knows no such bound.
PROBE_LIMIT = 2.0
#: Ack-eliciting packets after which an acknowledgment does not wait (RFC 9000 13.2.2).
ACK_EVERY = 2


class SendingCore(StreamCore):
    """A QuicConnection that sends what its streams and its windows owe."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.mtu = PathMtu(self._max_datagram_size, self.settings.largest_packet_size)
        self._are_ids_unsent = True
        self._unacknowledged = 0
        self._ack_delay = ACK_DELAY
        self._builder = OneRttBuilder(self._max_datagram_size)
        # The keys and the packet numbers of the established connection, which aioquic looks up by enumeration.
        self._keys = CryptoPair()
        self._numbers = QuicPacketSpace(is_application_data=True)

    @property
    def has_work(self) -> bool:
        """Whether `datagrams_to_send` may have something before the next timer."""
        return bool(
            self._active
            or self._fresh
            or self._connection_credit_owed
            or self._credit_owed
            or self._datagrams_pending
            or self._has_rare_work(self._network_paths[0])
            or self._close_pending
            or self.mtu.wants_probe
            or not self._handshake_confirmed
            or self._unacknowledged >= ACK_EVERY
        )

    # -- datagrams and timers ------------------------------------------------------------------------------------

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Address]]:
        """Return what may leave now. Established connections take the short way, all others aioquic's."""
        if not self._is_steady():
            return super().datagrams_to_send(now)
        loss, path, builder = self._loss, self._network_paths[0], self._builder
        self._pacing_at = None
        flight = loss.congestion_window - loss.bytes_in_flight
        if self._probe_pending:
            flight = max(flight, self._max_datagram_size)
        builder.begin(packet_number=self._packet_number, peer_cid=self._peer_cid.cid, flight=flight, crypto=self._keys)
        try:
            if self._probe_pending and loss.probe_count >= SMALL_PROBES:
                self._write_small_probe(builder)
            self._write_application(builder, path, now)
        except QuicPacketBuilderStop:
            pass
        if self.mtu.wants_probe:
            self._write_mtu_probe(builder, now)
        datagrams, packets = builder.flush()
        if not datagrams:
            return []
        self._packet_number = builder.packet_number
        loss.on_packets_sent(packets, space=self._numbers, now=now)
        if not self._ack_eliciting_sent_since_receipt and any(packet.is_ack_eliciting for packet in packets):
            # Restarts the idle timer once (RFC 9000 10.1).
            self._close_at = now + self._idle_timeout()
            self._ack_eliciting_sent_since_receipt = True
        return [(datagram, path.addr) for datagram in datagrams]

    def get_timer(self) -> float | None:
        """Return when `handle_timer` is due."""
        if not self._is_steady() or self._close_at is None:
            return super().get_timer()
        space, loss = self._numbers, self._loss
        timer: float = self._close_at
        self._loss_at = space.loss_time
        if self._loss_at is None and space.ack_eliciting_in_flight:
            self._loss_at = loss.probe_deadline(PROBE_LIMIT)
        for at in (space.ack_at, self._loss_at, self._pacing_at):
            if at is not None and at < timer:
                timer = at
        return timer

    def handle_timer(self, now: float) -> None:
        """Handle the timer, and suspect larger datagrams where probes stay without an answer."""
        super().handle_timer(now)
        if self._loss.probe_count >= BLACK_HOLE_PROBES:
            self.fall_back()

    def fall_back(self) -> bool:
        """Send datagrams of the first size again, as larger ones vanish; False where it is in use already."""
        changed = self.mtu.fall_back()
        if changed:
            self._use_datagram_size()
        return changed

    def _confirm_handshake(self) -> None:
        super()._confirm_handshake()
        self._keys = self._cryptos[Epoch.ONE_RTT]
        self._numbers = self._spaces[Epoch.ONE_RTT]

    def _is_steady(self) -> bool:
        """Whether nothing but ordinary packets on one validated path is left to do."""
        paths = self._network_paths
        return (
            self._handshake_confirmed
            and self._state is QuicConnectionState.CONNECTED
            and not self._close_pending
            and paths[0].is_validated
            and not paths[0].remote_challenges
            and self._remote_preferred_address is None
            and (len(paths) == 1 or not any(_needs_probing(path) for path in paths[1:]))
        )

    # -- packets -------------------------------------------------------------------------------------------------

    def _write_application(self, builder: QuicPacketBuilder, network_path: QuicNetworkPath, now: float) -> None:
        crypto, space = self._keys, self._numbers
        if not self._handshake_confirmed:
            crypto, space = self._cryptos[Epoch.ONE_RTT], self._spaces[Epoch.ONE_RTT]
            if not crypto.send.is_valid():
                return
        while True:
            if self._active and space.ack_at is None and isinstance(builder, OneRttBuilder):
                if not self._has_more_than_streams(network_path):
                    self._write_middles(builder, now)
            is_ack_due = space.ack_at is not None and space.ack_at <= now
            if not is_ack_due:
                self._pacing_at = self._loss.next_send_time(now)
                if self._pacing_at is not None:
                    return
            builder.start_packet(QuicPacketType.ONE_RTT, crypto)
            if is_ack_due or (space.ack_at is not None and self._has_frames(network_path)):
                self._write_ack_frame(builder=builder, space=space, now=now)
            self._write_frames(builder, network_path, now)
            if builder.packet_is_empty:
                return
            self._loss.packet_was_built(now)

    def _write_small_probe(self, builder: OneRttBuilder) -> None:
        """Write a packet of a PING alone: it passes where what is filled with data does not (RFC 9002 6.2.4)."""
        builder.start_packet(QuicPacketType.ONE_RTT, self._keys)
        self._write_ping_frame(builder, comment="probe")

    def _write_frames(self, builder: QuicPacketBuilder, path: QuicNetworkPath, now: float) -> None:
        if self._handshake_complete:
            if self._has_rare_work(path):
                self._write_rare_frames(builder, path, now)
            if self._connection_credit_owed or self._credit_owed:
                self._write_credit(builder, now)
        if self._datagrams_pending:
            self._write_datagrams(builder)
        if self._active or self._fresh:
            self._write_streams(builder)

    def _has_frames(self, path: QuicNetworkPath) -> bool:
        return bool(self._active or self._fresh or self._has_more_than_streams(path))

    def _has_more_than_streams(self, path: QuicNetworkPath) -> bool:
        return bool(
            self._connection_credit_owed or self._credit_owed or self._datagrams_pending or self._has_rare_work(path)
        )

    def _has_rare_work(self, path: QuicNetworkPath) -> bool:
        limit = self._local_max_streams_bidi
        return bool(
            self._handshake_done_pending
            or self._ping_pending
            or self._probe_pending
            or self._are_ids_unsent
            or self._retire_connection_ids
            or path.remote_challenges
            or not (path.is_validated or path.local_challenge_sent)
            or limit.sent - limit.used < limit.value - limit.sent
        )

    def _write_rare_frames(self, builder: QuicPacketBuilder, path: QuicNetworkPath, now: float) -> None:
        if not (path.is_validated or path.local_challenge_sent):
            self._write_path_challenge_frame(builder=builder, network_path=path)
            if path.validation_deadline is None:
                # Three times the larger of this path's probe timeout and that of a new one (RFC 9000 8.2.4).
                timeout = max(self._loss.get_probe_timeout(), 2 * self._configuration.initial_rtt)
                path.validation_deadline = now + 3 * timeout
        if self._handshake_done_pending:
            self._write_handshake_done_frame(builder=builder)
            self._handshake_done_pending = False
        while path.remote_challenges:
            self._write_path_response_frame(builder=builder, challenge=path.remote_challenges[0])
            path.remote_challenges.popleft()
        if self._are_ids_unsent:
            for connection_id in self._host_cids:
                if not connection_id.was_sent:
                    self._write_new_connection_id_frame(builder=builder, connection_id=connection_id)
            self._are_ids_unsent = False
        while self._retire_connection_ids:
            self._write_retire_connection_id_frame(builder=builder, sequence_number=self._retire_connection_ids[0])
            self._retire_connection_ids.pop(0)
        self._write_stream_limit(builder)
        if self._ping_pending:
            self._write_ping_frame(builder, self._ping_pending)
            self._ping_pending.clear()
        if self._probe_pending:
            self._write_ping_frame(builder, comment="probe")
            self._probe_pending = False

    def _write_ack_frame(self, builder: QuicPacketBuilder, space: QuicPacketSpace, now: float) -> None:
        super()._write_ack_frame(builder, space, now)
        self._unacknowledged = 0

    def _write_mtu_probe(self, builder: OneRttBuilder, now: float) -> None:
        size = self.mtu.start_probe()
        builder.resize(size)
        builder.start_packet(QuicPacketType.ONE_RTT, self._keys)
        builder.write_probe(self._on_mtu_probe_delivery, (size,))
        builder.resize(self._max_datagram_size)
        # A probe is not in flight, as its loss says nothing about congestion (RFC 9000 14.4); its timer runs anyway.
        self._loss.probe_was_sent(now)

    def _use_datagram_size(self) -> None:
        self._max_datagram_size = self.mtu.size
        self._builder.resize(self.mtu.size)

    # -- what became of frames -----------------------------------------------------------------------------------

    def _on_new_connection_id_delivery(self, delivery: QuicDeliveryState, connection_id: QuicConnectionId) -> None:
        super()._on_new_connection_id_delivery(delivery, connection_id)
        self._are_ids_unsent = self._are_ids_unsent or not connection_id.was_sent

    def _on_mtu_probe_delivery(self, delivery: QuicDeliveryState, size: int) -> None:
        if delivery is QuicDeliveryState.ACKED:
            self.mtu.acknowledged(size)
            self._use_datagram_size()
        else:
            self.mtu.lost()

    def _replenish_connection_ids(self) -> None:
        super()._replenish_connection_ids()
        self._are_ids_unsent = True


def _needs_probing(path: QuicNetworkPath) -> bool:
    return bool(path.remote_challenges) or not (path.is_validated or path.local_challenge_sent)
