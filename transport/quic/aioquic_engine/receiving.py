"""The receiving half of the aioquic engine's QUIC connection: packets in, stream data out.

Packets of an established connection take a short way past aioquic's general one; every other packet takes that. Frames
of streams are handled here, with limits tied to consumption and a bound on everything a hostile peer could pile up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from aioquic.quic.connection import QuicConnectionError, QuicConnectionState, QuicNetworkPath, QuicReceiveContext
from aioquic.quic.packet import (
    NON_ACK_ELICITING_FRAME_TYPES,
    QuicErrorCode,
    QuicFrameType,
    pull_quic_transport_parameters,
)
from aioquic.quic.stream import FinalSizeError, StreamFinishedError
from aioquic.tls import Epoch

from pyconnector.transport.buffers.connection import PEER_STREAMS
from pyconnector.transport.quic.aioquic_engine.internals import (
    BadPacket,
    Buffer,
    BufferReadError,
    NewKeyPhase,
    open_packet,
)
from pyconnector.transport.quic.aioquic_engine.sending import ACK_EVERY, SendingCore
from pyconnector.transport.quic.aioquic_engine.stream import RESERVED_EACH, AioquicStream
from pyconnector.transport.quic.failures import plain_names
from pyconnector.transport.quic.flow.reassembly import HELD_PIECES
from pyconnector.transport.quic.flow.receive_window import ReceiveWindow

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.transport.buffers.connection import BufferedConnection
    from pyconnector.transport.seam import Address

#: Streams of the peer for which QUIC keeps state at once. Beyond `PEER_STREAMS` new ones are refused; a peer that goes
#: on opening without ending those is cut off here.
PEER_STREAM_STATES = 2 * PEER_STREAMS
_LARGEST_OFFSET = (1 << 62) - 1


class ReceivingCore(SendingCore):
    """A QuicConnection that hands data to streams as it arrives."""

    #: The connection to which streams belong; set before the first packet.
    owner: BufferedConnection

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.newly_opened: list[AioquicStream] = []
        "Streams of the peer that the owner has not handed to the user yet."
        self.last_received = 0.0
        "When the last valid packet arrived."
        self._bytes_granted_used = 0
        self._held_pieces = 0
        # One for all packets of the established connection: handlers only read it.
        self._context = QuicReceiveContext(
            epoch=Epoch.ONE_RTT,
            host_cid=b"",
            network_path=QuicNetworkPath(None),
            quic_logger_frames=None,
            time=0.0,
            version=None,
        )
        handlers: dict[int, tuple[Callable[..., None], Any]] = self._QuicConnection__frame_handlers  # type: ignore[attr-defined]
        self._handlers = {
            frame_type: handler for frame_type, (handler, epochs) in handlers.items() if Epoch.ONE_RTT in epochs
        }

    # -- what the owner overrides --------------------------------------------------------------------------------

    def datagram_frame(self, data: bytes) -> None:
        """A DATAGRAM frame arrived."""
        raise NotImplementedError

    def path_changed(self, address: Address) -> None:
        """The peer speaks from another address now."""
        raise NotImplementedError

    def stream_limit_raised(self) -> None:
        """The peer allows more streams."""
        raise NotImplementedError

    # -- opening streams -----------------------------------------------------------------------------------------

    def open_stream(self) -> AioquicStream | None:
        """Open the next stream of this side; None where the peer's limit is reached."""
        stream_id = self._local_next_stream_id_bidi
        if stream_id // 4 >= self._remote_max_streams_bidi:
            return None
        self._local_next_stream_id_bidi = stream_id + 4
        stream = self._new_stream(stream_id, self._remote_max_stream_data_bidi_remote)
        stream.is_handed_over = True
        return stream

    def open_unidirectional(self) -> AioquicStream | None:
        """Open the next stream that only this side sends on; None where the peer's limit is reached."""
        stream_id = self._local_next_stream_id_uni
        if stream_id // 4 >= self._remote_max_streams_uni:
            return None
        self._local_next_stream_id_uni = stream_id + 4
        stream = AioquicStream(
            self.owner, self, stream_id, window=ReceiveWindow(0, 0), credit=self._remote_max_stream_data_uni
        )
        self.live_streams[stream_id] = stream
        stream.has_one_direction(sends=True)
        stream.is_handed_over = True
        return stream

    def _new_stream(self, stream_id: int, credit: int) -> AioquicStream:
        settings = self.settings
        window = ReceiveWindow(
            min(settings.initial_stream_window, settings.stream_window), settings.stream_window, self.stream_allowance
        )
        stream = AioquicStream(self.owner, self, stream_id, window=window, credit=credit)
        self.live_streams[stream_id] = stream
        return stream

    def _peer_stream(self, frame_type: int, stream_id: int) -> AioquicStream:
        """Return the stream that a frame speaks of, opening it and all below it (RFC 9000 2.1) where it is new.

        Raises:
            StreamFinishedError: it was over long ago.
            QuicConnectionError: the peer may not speak of it.
        """
        if not self.is_peer_opened(stream_id):
            if stream_id < (self._local_next_stream_id_uni if stream_id & 2 else self._local_next_stream_id_bidi):
                raise StreamFinishedError
            _fail(QuicErrorCode.STREAM_STATE_ERROR, frame_type, "Wrong stream initiator")
        limit = self._local_max_streams_uni if stream_id & 2 else self._local_max_streams_bidi
        count = stream_id // 4 + 1
        if count > limit.value:
            _fail(QuicErrorCode.STREAM_LIMIT_ERROR, frame_type, "Too many streams open")
        if count <= limit.used:
            raise StreamFinishedError
        if self.peer_stream_count + count - limit.used > PEER_STREAM_STATES:
            _fail(QuicErrorCode.STREAM_LIMIT_ERROR, frame_type, "Too many streams open at once")
        for new_id in range(limit.used * 4 + stream_id % 4, stream_id + 4, 4):
            stream = self._new_stream(new_id, self._remote_max_stream_data_bidi_local)
            if new_id & 2:
                stream.has_one_direction(sends=False)
        self.peer_stream_count += count - limit.used
        limit.used = count
        return stream

    # -- packets -------------------------------------------------------------------------------------------------

    def close(
        self, error_code: int = QuicErrorCode.NO_ERROR, frame_type: int | None = None, reason_phrase: str = ""
    ) -> None:
        """See `QuicConnection.close`; the reason is for people, here and at the peer."""
        super().close(error_code=error_code, frame_type=frame_type, reason_phrase=plain_names(reason_phrase))

    def receive_datagram(self, data: bytes, addr: Address, now: float) -> None:
        """Take in one UDP datagram."""
        host_cid = self.host_cid
        if (
            data
            and data[0] & 0xC0 == 0x40
            and self._handshake_confirmed
            and self._state is QuicConnectionState.CONNECTED
            and not self._close_pending
            and data.startswith(host_cid, 1)
            and self._network_paths[0].addr == addr
            and self._network_paths[0].is_validated
        ):
            space = self._numbers
            try:
                number, frames, is_valid = open_packet(
                    self._keys.recv, data, len(host_cid), space.expected_packet_number
                )
            except BadPacket:
                return
            except NewKeyPhase:
                pass
            else:
                if number not in space.received_packets:
                    self._packet_received(number, frames, is_valid, now)
                return
        before, paths = self._close_at, self._network_paths
        path = paths[0] if paths else None
        super().receive_datagram(data, addr, now)
        if self._close_at != before:
            self.last_received = now
        if path is not None and self._network_paths[0] is not path:
            # Nothing is known of the new path's MTU, and a large challenge would not get through.
            self.mtu.fall_back()
            self._use_datagram_size()
            self.path_changed(self._network_paths[0].addr)

    def _packet_received(self, number: int, frames: bytes, is_valid: bool, now: float) -> None:
        """Take in one new packet of an established connection."""
        space = self._numbers
        if number > space.expected_packet_number:
            space.expected_packet_number = number + 1
        try:
            if not is_valid:
                _fail(QuicErrorCode.PROTOCOL_VIOLATION, QuicFrameType.PADDING, "Reserved bits must be zero")
            is_ack_eliciting = self._frames_received(frames, now)
        except QuicConnectionError as exc:
            self.close(error_code=exc.error_code, frame_type=exc.frame_type, reason_phrase=exc.reason_phrase)
        if self._state is not QuicConnectionState.CONNECTED or self._close_pending:
            return
        if now != self.last_received:
            self.last_received = now
            self._close_at = now + self._idle_timeout()
        self._ack_eliciting_sent_since_receipt = False
        in_order = number == space.largest_received_packet + 1
        if number > space.largest_received_packet:
            space.largest_received_packet = number
            space.largest_received_time = now
        space.ack_queue.add(number)
        space.received_packets.add(number)
        if len(space.ack_queue) > _ACK_RANGES:
            space.ack_queue.shift()
        if is_ack_eliciting:
            self._owe_acknowledgment(now, at_once=not in_order)

    def _owe_acknowledgment(self, now: float, *, at_once: bool) -> None:
        space = self._numbers
        self._unacknowledged += 1
        if at_once or self._unacknowledged >= ACK_EVERY:
            self._unacknowledged = max(self._unacknowledged, ACK_EVERY)
            space.ack_at = now
        elif space.ack_at is None:
            space.ack_at = now + self._ack_delay

    def _frames_received(self, frames: bytes, now: float) -> bool:
        """Handle the frames of a packet; return whether it must be acknowledged."""
        buf = Buffer(data=frames)
        context, handlers = self._context, self._handlers
        context.host_cid = self.host_cid
        context.network_path = self._network_paths[0]
        context.time = now
        is_ack_eliciting = False
        if buf.eof():
            _fail(QuicErrorCode.PROTOCOL_VIOLATION, QuicFrameType.PADDING, "Packet contains no frames")
        frame_type = 0
        while not buf.eof():
            try:
                frame_type = buf.pull_uint_var()
                handler = handlers.get(frame_type)
                if handler is None:
                    _fail(QuicErrorCode.FRAME_ENCODING_ERROR, frame_type, "Unknown frame type")
                handler(context, frame_type, buf)
            except BufferReadError:
                _fail(QuicErrorCode.FRAME_ENCODING_ERROR, frame_type, "Failed to parse frame")
            except StreamFinishedError:
                pass
            if frame_type not in NON_ACK_ELICITING_FRAME_TYPES:
                is_ack_eliciting = True
        return is_ack_eliciting

    # -- frames of streams ---------------------------------------------------------------------------------------

    def _handle_stream_frame(self, context: QuicReceiveContext, frame_type: int, buf: Buffer) -> None:
        stream_id = buf.pull_uint_var()
        offset = buf.pull_uint_var() if frame_type & 4 else 0
        length = buf.pull_uint_var() if frame_type & 2 else buf.capacity - buf.tell()
        end = offset + length
        if end > _LARGEST_OFFSET:
            _fail(QuicErrorCode.FRAME_ENCODING_ERROR, frame_type, "A stream cannot be that long")
        data = buf.pull_bytes(length)
        stream = self.live_streams.get(stream_id) or self._peer_stream(frame_type, stream_id)
        if end > stream.highest_offset:
            self._use_credit(stream, frame_type, end)
        try:
            self._held_pieces += stream.stream_frame(offset, data, bool(frame_type & 1))
        except FinalSizeError as exc:
            _fail(QuicErrorCode.FINAL_SIZE_ERROR, frame_type, str(exc))
        stream.highest_offset = max(stream.highest_offset, end)
        if self._held_pieces > HELD_PIECES:
            _fail(QuicErrorCode.INTERNAL_ERROR, frame_type, "Too many gaps in the data of streams")
        if not stream.is_handed_over:
            stream.is_handed_over = True
            self.newly_opened.append(stream)
        if stream.receive_over:
            self.discard_if_over(stream)

    def _handle_reset_stream_frame(self, context: QuicReceiveContext, frame_type: int, buf: Buffer) -> None:
        stream_id, code, final_size = buf.pull_uint_var(), buf.pull_uint_var(), buf.pull_uint_var()
        stream = self.live_streams.get(stream_id) or self._peer_stream(frame_type, stream_id)
        if final_size > stream.highest_offset:
            self._use_credit(stream, frame_type, final_size)
        if stream.held is not None:
            self._held_pieces -= len(stream.held)
            stream.held = None
        try:
            undelivered = stream.reset_frame(code, final_size)
        except FinalSizeError as exc:
            _fail(QuicErrorCode.FINAL_SIZE_ERROR, frame_type, str(exc))
        stream.highest_offset = final_size
        if undelivered and self.connection_window.consume(undelivered):
            self._connection_credit_owed = True
        if not stream.is_handed_over:
            # Opened and aborted before a byte came: nothing that a user could act upon.
            stream.is_handed_over = True
            stream.reset()
        self.discard_if_over(stream)

    def _handle_stop_sending_frame(self, context: QuicReceiveContext, frame_type: int, buf: Buffer) -> None:
        stream_id, code = buf.pull_uint_var(), buf.pull_uint_var()
        stream = self.live_streams.get(stream_id) or self._peer_stream(frame_type, stream_id)
        is_sending = not (stream.queue.is_over or stream.reset_code is not None)
        if is_sending and not (stream.queue.finished and not stream.queue.unsent):
            stream.peer_stopped(code)
            # RFC 9000 3.5: answer with the code that came.
            stream.engine_reset(code)

    def _use_credit(self, stream: AioquicStream, frame_type: int, end: int) -> None:
        if end > stream.window.limit:
            _fail(QuicErrorCode.FLOW_CONTROL_ERROR, frame_type, "Over stream data limit")
        used = self._bytes_granted_used + end - stream.highest_offset
        if used > self.connection_window.limit:
            _fail(QuicErrorCode.FLOW_CONTROL_ERROR, frame_type, "Over connection data limit")
        self._bytes_granted_used = used

    def _handle_max_data_frame(self, context: QuicReceiveContext, frame_type: int, buf: Buffer) -> None:
        limit = buf.pull_uint_var()
        if limit > self._remote_max_data:
            self._remote_max_data = limit
            self.credit_granted()
            held_back, self._held_back = self._held_back, {}
            for stream in held_back:
                if stream.queue.has_frame:
                    self.activate(stream)

    def _handle_max_stream_data_frame(self, context: QuicReceiveContext, frame_type: int, buf: Buffer) -> None:
        stream_id, limit = buf.pull_uint_var(), buf.pull_uint_var()
        stream = self.live_streams.get(stream_id) or self._peer_stream(frame_type, stream_id)
        if limit > stream.remote_limit:
            stream.remote_limit = limit
            stream.reserve_left = RESERVED_EACH
            if stream.queue.has_frame:
                self.activate(stream)

    def _handle_stream_data_blocked_frame(self, context: QuicReceiveContext, frame_type: int, buf: Buffer) -> None:
        stream_id, _limit = buf.pull_uint_var(), buf.pull_uint_var()
        if stream_id not in self.live_streams:
            self._peer_stream(frame_type, stream_id)

    def _handle_max_streams_bidi_frame(self, context: QuicReceiveContext, frame_type: int, buf: Buffer) -> None:
        super()._handle_max_streams_bidi_frame(context, frame_type, buf)
        self.stream_limit_raised()

    def _handle_datagram_frame(self, context: QuicReceiveContext, frame_type: int, buf: Buffer) -> None:
        has_length = frame_type == QuicFrameType.DATAGRAM_WITH_LENGTH
        length = buf.pull_uint_var() if has_length else buf.capacity - buf.tell()
        if length >= self.settings.datagram_frame_size:
            _fail(QuicErrorCode.PROTOCOL_VIOLATION, frame_type, "Unexpected DATAGRAM frame")
        self.datagram_frame(buf.pull_bytes(length))

    def _parse_transport_parameters(self, data: bytes, from_session_ticket: bool = False) -> None:
        super()._parse_transport_parameters(data, from_session_ticket)
        self.credit_granted()
        # aioquic does not keep this one.
        largest = pull_quic_transport_parameters(Buffer(data=data)).max_udp_payload_size
        if largest is not None:
            self.mtu.limit(largest)


#: Ranges of packet numbers that are kept for acknowledgments (aioquic's own bound).
_ACK_RANGES = 64


def _fail(code: int, frame_type: int, reason: str) -> NoReturn:
    raise QuicConnectionError(error_code=code, frame_type=frame_type, reason_phrase=reason)
