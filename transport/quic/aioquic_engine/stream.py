"""One stream of the aioquic engine: the user's Stream and the QUIC state of both directions in one object.

It takes the place of aioquic's own stream objects, which search ranges for every acknowledgment and know nothing of
consumption. `sending.py` writes its frames, `receiving.py` feeds it those of the peer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioquic.quic.packet_builder import QuicDeliveryState
from aioquic.quic.stream import FinalSizeError

from pyconnector.transport.buffers.stream import BufferedStream
from pyconnector.transport.quic.flow.reassembly import Reassembly
from pyconnector.transport.quic.flow.send_queue import SendQueue

if TYPE_CHECKING:
    from pyconnector.transport.buffers.connection import BufferedConnection
    from pyconnector.transport.quic.aioquic_engine.frames import StreamCore
    from pyconnector.transport.quic.flow.receive_window import ReceiveWindow

#: Bytes that a stream may send ahead of streams with more to send, each time that it had nothing left.
FRESH_BURST = 16 * 1024
#: Bytes that a stream may take out of the last of the connection's credit before its reader shows that it reads.
RESERVED_EACH = 16 * 1024


class AioquicStream(BufferedStream):
    """A QUIC stream (RFC 9000 2 to 4), bidirectional unless `has_one_direction` was called."""

    __slots__ = (
        "_core",
        "burst",
        "final_size",
        "held",
        "highest_offset",
        "is_active",
        "is_handed_over",
        "queue",
        "receive_offset",
        "receive_over",
        "remote_limit",
        "reserve_left",
        "reset_acknowledged",
        "reset_code",
        "reset_pending",
        "stop_code",
        "stop_pending",
        "waits_for_credit",
        "window",
    )

    def __init__(
        self, connection: BufferedConnection, core: StreamCore, stream_id: int, *, window: ReceiveWindow, credit: int
    ) -> None:
        super().__init__(connection, stream_id)
        self._core = core
        self.is_active = False
        "Whether the core has it in its queue of streams with something to send."
        self.is_handed_over = False
        "Whether the user knows of it."
        self.queue = SendQueue()
        self.burst = FRESH_BURST
        "Bytes that are served before those of streams with more to send."
        self.remote_limit = credit
        "How far the peer lets us send."
        self.reserve_left = RESERVED_EACH
        "Bytes that it may take out of the last of the connection's credit."
        self.reset_code: int | None = None
        self.reset_pending = False
        self.reset_acknowledged = False
        self.window = window
        self.waits_for_credit = False
        "Whether it has a place in `PatientCredit`."
        self.highest_offset = 0
        "The end of the furthest byte that arrived."
        self.receive_offset = 0
        "How much arrived without a gap."
        self.final_size: int | None = None
        self.receive_over = False
        "Whether everything up to the peer's end, or its reset, arrived."
        self.held: Reassembly | None = None
        self.stop_code = 0
        self.stop_pending = False

    @property
    def is_over(self) -> bool:
        """Whether QUIC needs no state of this stream any more (RFC 9000 3.4)."""
        return self.receive_over and (self.queue.is_over or self.reset_acknowledged)

    def has_one_direction(self, *, sends: bool) -> None:
        """See `BufferedStream.has_one_direction`: of the other direction QUIC keeps no state."""
        super().has_one_direction(sends=sends)
        if sends:
            self.receive_over = True
        else:
            self.reset_code, self.reset_acknowledged = 0, True

    # -- what BufferedStream asks --------------------------------------------------------------------------------

    def engine_write(self, data: bytes, finish: bool) -> None:
        """See `BufferedStream`."""
        if not self.queue.unsent:
            self.burst = FRESH_BURST
        self._core.unsent += len(data)
        self.queue.write(data, finish)
        if not self.is_active:
            self._core.activate(self)

    def engine_unsent_backlog(self) -> int:
        """See `BufferedStream`."""
        return self.queue.unsent

    def engine_reset(self, code: int) -> None:
        """See `BufferedStream`."""
        if self.reset_code is None and not self.queue.is_over:
            self._core.unsent -= self.queue.unsent
            self._core.departed += self.queue.unsent
            self.queue.clear()
            self.reset_code = code
            self.reset_pending = True
            self._core.activate(self)

    def engine_stop(self, code: int) -> None:
        """See `BufferedStream`."""
        if not self.receive_over:
            self.stop_code = code
            self.stop_pending = True
            self._core.activate(self)

    def engine_consumed(self, count: int) -> None:
        """See `BufferedStream`."""
        self._core.consumed(self, count)

    # -- what the peer sent --------------------------------------------------------------------------------------

    def stream_frame(self, offset: int, data: bytes, ends: bool) -> int:
        """Take in a STREAM frame whose flow control was checked; return by how much the held pieces grew.

        Raises:
            FinalSizeError: the peer contradicts itself about where the stream ends (RFC 9000 4.5).
        """
        end = offset + len(data)
        if self.final_size is not None:
            if end > self.final_size or (ends and end != self.final_size):
                raise FinalSizeError("the stream ended elsewhere before")
        elif ends:
            if end < self.highest_offset:
                raise FinalSizeError("the stream ends before data that arrived")
            self.final_size = end
        if self.receive_over:
            return 0
        growth = 0
        if offset != self.receive_offset or self.held is not None:
            data, growth = self._reorder(offset, data)
        self.receive_offset += len(data)
        over = self.receive_offset == self.final_size
        if over:
            self.receive_over = True
            self.window.release()
        if data or over:
            self.data_received(data, over)
        return growth

    def reset_frame(self, code: int, final_size: int) -> int:
        """Take in a RESET_STREAM frame whose flow control was checked; return how many bytes will never be delivered.

        Raises:
            FinalSizeError: the peer contradicts itself about where the stream ends.
        """
        if final_size < self.highest_offset or self.final_size not in (None, final_size):
            raise FinalSizeError("the stream ended elsewhere before")
        if self.receive_over:
            return 0
        self.final_size = final_size
        self.receive_over = True
        self.window.release()
        self.stop_pending = False
        self.peer_reset(code)
        return final_size - self.receive_offset

    def _reorder(self, offset: int, data: bytes) -> tuple[bytes, int]:
        held = self.held
        if held is None:
            held = self.held = Reassembly()
        before = len(held)
        if offset + len(data) > self.receive_offset:
            held.insert(offset, data)
        data = held.take(self.receive_offset)
        growth = len(held) - before
        if not held:
            self.held = None
        return data, growth

    # -- what became of frames -----------------------------------------------------------------------------------

    def on_frame_delivery(self, delivery: QuicDeliveryState, offset: int, data: bytes, ends: bool) -> None:
        """A STREAM frame was acknowledged or lost."""
        if self.reset_code is not None:
            return
        if delivery is QuicDeliveryState.ACKED:
            if self.queue.acknowledged():
                self._core.discard_if_over(self)
        else:
            self.queue.lost((offset, data, ends))
            self._core.activate(self)

    def on_reset_delivery(self, delivery: QuicDeliveryState) -> None:
        """A RESET_STREAM frame was acknowledged or lost."""
        if delivery is QuicDeliveryState.ACKED:
            self.reset_acknowledged = True
            self._core.discard_if_over(self)
        else:
            self.reset_pending = True
            self._core.activate(self)

    def on_stop_delivery(self, delivery: QuicDeliveryState) -> None:
        """A STOP_SENDING frame was acknowledged or lost."""
        if delivery is not QuicDeliveryState.ACKED and not self.receive_over:
            self.stop_pending = True
            self._core.activate(self)

    def on_credit_delivery(self, delivery: QuicDeliveryState) -> None:
        """A MAX_STREAM_DATA frame was acknowledged or lost."""
        if delivery is not QuicDeliveryState.ACKED:
            self._core.owe_credit(self)
