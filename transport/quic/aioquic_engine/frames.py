"""Streams and their frames in the aioquic engine: who has something to send, and how it is written into a packet.

aioquic asks every stream of the connection about every packet. Here streams with something to send wait in a queue and
are served in turn, and credit is granted as data is consumed. `sending.py` builds the packets around it.
"""

from __future__ import annotations

import struct
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any

from aioquic.buffer import size_uint_var
from aioquic.quic.connection import (
    CONNECTION_LIMIT_FRAME_CAPACITY,
    MAX_STREAM_DATA_FRAME_CAPACITY,
    RESET_STREAM_FRAME_CAPACITY,
    STOP_SENDING_FRAME_CAPACITY,
    QuicConnection,
    stream_is_client_initiated,
)
from aioquic.quic.packet import QuicFrameType
from aioquic.quic.packet_builder import QuicDeliveryState, QuicPacketBuilder, QuicPacketBuilderStop

from pyconnector.transport.quic.flow.patient_credit import PatientCredit
from pyconnector.transport.quic.flow.receive_window import Allowance, ReceiveWindow

if TYPE_CHECKING:
    from pyconnector.transport.quic.aioquic_engine.packets import OneRttBuilder
    from pyconnector.transport.quic.aioquic_engine.recovery import QuickAcks
    from pyconnector.transport.quic.aioquic_engine.stream import AioquicStream
    from pyconnector.transport.settings import QuicSettings

#: Datagrams that may wait to be sent; more are refused (the reference waits at 32).
DATAGRAM_SEND_QUEUE = 256
#: Highest number of streams that QUIC can count (RFC 9000 4.6).
STREAM_COUNT_MAX = 1 << 60
#: Part of the connection's window that windows of streams may grow by; the rest is for those that did not grow.
GROWN_SHARE = 3
#: Part of the peer's connection window of which each stream may take but little (`RESERVED_EACH`), and the most of it.
RESERVE_SHARE, RESERVE_LIMIT = 8, 4 * 1024 * 1024
#: Bytes that streams may send ahead of those with more to send, before one frame of these.
FRESH_RUN = 64 * 1024
#: Room in a packet that no frame with data of a stream fits into.
FRAME_OVERHEAD = 4
_TAG = 16
# A stream frame in which all numbers have their widest form: type, stream, offset, length.
_MIDDLE = struct.Struct(">BLQH")
#: Bytes that such a frame has beside its data, and the first stream whose number does not fit.
MIDDLE_OVERHEAD, MIDDLES_UNTIL = _MIDDLE.size, 1 << 30
# Stream frames with a length, without and with an offset (RFC 9000 19.8).
_STREAM = int(QuicFrameType.STREAM_BASE) | 2
_STREAM_AT_OFFSET = _STREAM | 4


class StreamCore(QuicConnection):
    """A QuicConnection whose streams are ours."""

    _loss: QuickAcks

    def __init__(self, *, settings: QuicSettings, **options: Any) -> None:
        super().__init__(**options)
        self.settings = settings
        whole = settings.connection_window
        self.connection_window = ReceiveWindow(min(settings.initial_connection_window, whole), whole)
        self.stream_allowance = Allowance(whole // GROWN_SHARE)
        self.live_streams: dict[int, AioquicStream] = {}
        self.peer_stream_count = 0
        self.unsent = 0
        "Bytes of all streams that were queued and never sent."
        self.departed = 0
        "Bytes that ever ceased to be unsent: while it stands still nobody who waits for that can go on."
        # Streams with something to send: those that just began to, and those in the middle of much.
        self._fresh: deque[AioquicStream] = deque()
        self._active: deque[AioquicStream] = deque()
        self._fresh_run = 0  # bytes sent for the first since the second were served
        self._reserve = 0  # of the peer's connection window
        self._held_back: dict[AioquicStream, None] = {}  # by the peer's connection window
        self._credit_owed: dict[AioquicStream, None] = {}
        self._connection_credit_owed = False
        self.patient_credit = PatientCredit()
        self._local_max_streams_bidi.value = self._local_max_streams_bidi.sent = settings.incoming_streams
        # Never raised: the few that a protocol has, if any, stay open.
        self._local_max_streams_uni.value = self._local_max_streams_uni.sent = settings.incoming_unidirectional

    # -- what the owner overrides --------------------------------------------------------------------------------

    def wake(self) -> None:
        """There is something to send."""
        raise NotImplementedError

    def stream_over(self, stream: AioquicStream) -> None:
        """QUIC forgot a stream."""
        raise NotImplementedError

    def credit_waits(self) -> None:
        """Call `grant_patient_credit` after a `CREDIT_STEP`, if that is not about to happen."""
        raise NotImplementedError

    # -- what streams ask for ------------------------------------------------------------------------------------

    def activate(self, stream: AioquicStream) -> None:
        """Serve `stream` with the next packets."""
        if not stream.is_active:
            stream.is_active = True
            (self._fresh if stream.burst > 0 else self._active).append(stream)
            self.wake()

    def consumed(self, stream: AioquicStream, count: int) -> None:
        """Return credit for what the user took."""
        if self.connection_window.consume(count):
            self._connection_credit_owed = True
            self.wake()
        if stream.window.consume(count) and stream.final_size is None:
            if self.patient_credit.hold_back(stream, monotonic(), self._loss.round_trip):
                self.credit_waits()
            else:
                self.owe_credit(stream)

    def owe_credit(self, stream: AioquicStream) -> None:
        """Tell the peer how far it may send on `stream`."""
        self._credit_owed[stream] = None
        self.wake()

    def grant_patient_credit(self, now: float) -> bool:
        """Grant what is due by now of the credit that waits; return whether more of it does."""
        for stream in self.patient_credit.step(now):
            self.owe_credit(stream)  # of one that is over by now nothing is written
        return bool(self.patient_credit)

    def discard_if_over(self, stream: AioquicStream) -> None:
        """Forget `stream` once both directions are over and acknowledged."""
        if stream.is_over and self.live_streams.pop(stream.stream_id, None) is not None:
            self._credit_owed.pop(stream, None)
            self._held_back.pop(stream, None)
            if self.is_peer_opened(stream.stream_id):
                self.peer_stream_count -= 1
                if not stream.stream_id & 2:
                    limit = self._local_max_streams_bidi
                    limit.value = min(limit.value + 1, STREAM_COUNT_MAX)
            self.stream_over(stream)

    @property
    def undelivered(self) -> int:
        """Bytes that the peer did not acknowledge yet, more where something is about to be sent."""
        return self.unsent + self._loss.bytes_in_flight + len(self._fresh) + len(self._active)

    def credit_granted(self) -> None:
        """The peer raised its connection limit: keep part of the window in reserve."""
        window = self._remote_max_data - self._remote_max_data_used
        self._reserve = max(self._reserve, min(window // RESERVE_SHARE, RESERVE_LIMIT))

    def is_peer_opened(self, stream_id: int) -> bool:
        """Whether the peer opened the stream of that number."""
        return stream_is_client_initiated(stream_id) != self._is_client

    def largest_datagram(self) -> int:
        """Return how long a datagram may be now, by peer and path."""
        room = min(self._remote_max_datagram_frame_size or 0, self._frame_space()) - 1
        return max(room - size_uint_var(max(room, 0)), 0)

    def queue_datagram(self, data: bytes) -> bool:
        """Queue a DATAGRAM frame; False where peer, path or queue have no room for it."""
        frame_size = 1 + size_uint_var(len(data)) + len(data)
        if frame_size > min(self._remote_max_datagram_frame_size or 0, self._frame_space()):
            return False
        if len(self._datagrams_pending) >= DATAGRAM_SEND_QUEUE:
            return False
        self._datagrams_pending.append(data)
        self.wake()
        return True

    # -- frames ---------------------------------------------------------------------------------------------------

    def _write_stream_limit(self, builder: QuicPacketBuilder) -> None:
        limit = self._local_max_streams_bidi
        if limit.sent - limit.used < limit.value - limit.sent:
            buffer = builder.start_frame(
                QuicFrameType.MAX_STREAMS_BIDI,
                capacity=CONNECTION_LIMIT_FRAME_CAPACITY,
                handler=self._on_connection_limit_delivery,
                handler_args=(limit,),
            )
            buffer.push_uint_var(limit.value)
            limit.sent = limit.value

    def _write_credit(self, builder: QuicPacketBuilder, now: float) -> None:
        round_trip = self._loss.round_trip
        if self._connection_credit_owed:
            limit = self.connection_window.extend(now, round_trip)
            buffer = builder.start_frame(
                QuicFrameType.MAX_DATA,
                capacity=CONNECTION_LIMIT_FRAME_CAPACITY,
                handler=self._on_connection_credit_delivery,
            )
            buffer.push_uint_var(limit)
            self._connection_credit_owed = False
        while self._credit_owed:
            stream = next(iter(self._credit_owed))
            if stream.final_size is None:
                limit = stream.window.extend(now, round_trip)
                buffer = builder.start_frame(
                    QuicFrameType.MAX_STREAM_DATA,
                    capacity=MAX_STREAM_DATA_FRAME_CAPACITY,
                    handler=stream.on_credit_delivery,
                )
                buffer.push_uint_var(stream.stream_id)
                buffer.push_uint_var(limit)
            del self._credit_owed[stream]

    def _write_datagrams(self, builder: QuicPacketBuilder) -> None:
        pending = self._datagrams_pending
        while pending:
            data = pending[0]
            if 1 + size_uint_var(len(data)) + len(data) > self._frame_space():
                # The path shrank since it was queued.
                pending.popleft()
                continue
            try:
                self._write_datagram_frame(builder=builder, data=data, frame_type=QuicFrameType.DATAGRAM_WITH_LENGTH)
            except QuicPacketBuilderStop:
                if builder.packet_is_empty:
                    raise
                return
            pending.popleft()

    def _write_streams(self, builder: QuicPacketBuilder) -> None:
        """Give each stream in turn one frame, until the packet is full. A stream leaves the queue when it has nothing
        left, or nothing that the peer's windows allow. Short messages go before the middle of long ones."""
        fresh, active = self._fresh, self._active
        while fresh or active:
            queue = fresh if fresh and (not active or self._fresh_run < FRESH_RUN) else active
            stream = queue[0]
            if stream.stop_pending:
                self._write_stop(builder, stream)
            if stream.reset_pending:
                self._write_reset(builder, stream)
            elif stream.queue.has_frame:
                room = builder.remaining_flight_space
                if room < FRAME_OVERHEAD and not builder.packet_is_empty:
                    return
                outcome = self._write_frame(builder, stream, room)
                if outcome is None:
                    return
                if outcome:
                    if queue is fresh and stream.burst <= 0:
                        active.append(fresh.popleft())
                    elif len(queue) > 1:
                        queue.rotate(-1)
                    continue
            queue.popleft()
            stream.is_active = False

    def _write_middles(self, builder: OneRttBuilder, now: float) -> None:
        """Fill whole packets, each with the middle of what a stream has much of, as far as windows and pace allow.

        This is `_write_streams` for what downloads consist of, without the questions whose answers are known.
        """
        active, pacer, size = self._active, self._loss.pacer, builder.full_packet - MIDDLE_OVERHEAD
        while active and not self._fresh and builder.has_full_packet and pacer.next_send_time(now=now) is None:
            stream = active[0]
            offset, stream_id = stream.queue.offset, stream.stream_id
            if (
                size > stream.remote_limit - offset
                or size > self._remote_max_data - self._remote_max_data_used - self._reserve
                or stream.reset_pending
                or stream.stop_pending
                or stream_id >= MIDDLES_UNTIL
                or (frame := stream.queue.next_middle(size)) is None
            ):
                return
            head = _MIDDLE.pack(_STREAM_AT_OFFSET, stream_id | 0x8000_0000, offset | 0xC000 << 48, size | 0x4000)
            builder.add_packet(head + frame[1], stream.on_frame_delivery, frame)
            pacer.update_after_send(now=now)
            self._remote_max_data_used += size
            self.unsent -= size
            self.departed += size
            self._fresh_run = 0
            if len(active) > 1:
                active.rotate(-1)

    def _write_frame(self, builder: QuicPacketBuilder, stream: AioquicStream, room: int) -> bool | None:
        """True: the stream has more; False: it has not, or may not; None: the packet is full."""
        queue = stream.queue
        before = queue.offset
        offset = queue.next_offset
        overhead = 3 + size_uint_var(stream.stream_id) + (size_uint_var(offset) if offset else 0)
        free = connection_credit = self._remote_max_data - self._remote_max_data_used - self._reserve
        if free < room:
            # Readers at the other end who take nothing must not hold all of the credit: the last of it is for others.
            free = max(free, 0)
            connection_credit = free + min(
                stream.reserve_left, self._remote_max_data - self._remote_max_data_used - free
            )
        credit = min(connection_credit, stream.remote_limit - before)
        frame = queue.next_frame(room - overhead, credit)
        if frame is None:
            if credit < queue.unsent and room - overhead >= credit and not queue.has_lost:
                if credit == connection_credit:
                    self._held_back[stream] = None
                return False
            if builder.packet_is_empty:
                raise QuicPacketBuilderStop
            return None
        offset, data, ends = frame
        buffer = builder.start_frame(
            (_STREAM_AT_OFFSET if offset else _STREAM) | ends, overhead, stream.on_frame_delivery, frame
        )
        buffer.push_uint_var(stream.stream_id)
        if offset:
            buffer.push_uint_var(offset)
        buffer.push_uint16(len(data) | 0x4000)
        buffer.push_bytes(data)
        new = queue.offset - before
        self._remote_max_data_used += new
        self.unsent -= new
        self.departed += new
        if new > free:
            stream.reserve_left -= new - free
        if stream.burst > 0:
            stream.burst -= len(data)
            self._fresh_run += len(data)
        else:
            self._fresh_run = 0
        return queue.has_frame

    def _write_stop(self, builder: QuicPacketBuilder, stream: AioquicStream) -> None:
        buffer = builder.start_frame(
            QuicFrameType.STOP_SENDING, capacity=STOP_SENDING_FRAME_CAPACITY, handler=stream.on_stop_delivery
        )
        buffer.push_uint_var(stream.stream_id)
        buffer.push_uint_var(stream.stop_code)
        stream.stop_pending = False

    def _write_reset(self, builder: QuicPacketBuilder, stream: AioquicStream) -> None:
        buffer = builder.start_frame(
            QuicFrameType.RESET_STREAM, capacity=RESET_STREAM_FRAME_CAPACITY, handler=stream.on_reset_delivery
        )
        buffer.push_uint_var(stream.stream_id)
        buffer.push_uint_var(stream.reset_code or 0)
        buffer.push_uint_var(stream.queue.offset)
        stream.reset_pending = False

    def _frame_space(self) -> int:
        return self._max_datagram_size - 1 - len(self._peer_cid.cid) - 2 - _TAG

    def _on_connection_credit_delivery(self, delivery: QuicDeliveryState) -> None:
        if delivery is not QuicDeliveryState.ACKED:
            self._connection_credit_owed = True
