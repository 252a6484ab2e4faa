"""One stream of the qh3 engine: each hook is one call into the native core, and its errors are translated here."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from pyconnector.transport.buffers.stream import _OPEN as OPEN
from pyconnector.transport.buffers.stream import BufferedStream
from pyconnector.transport.errors import StreamReset
from pyconnector.transport.quic.qh3_engine.send_share import SMALLEST_SHARE, SendShare
from pyconnector.transport.seam import SEND_LOW_WATER

if TYPE_CHECKING:
    from pyconnector.transport.quic.qh3_engine.connection import Qh3Connection


class Qh3Stream(BufferedStream):
    """A stream whose unsent bytes wait in the core, as far as its share goes (`send_share`).

    The core cuts a STREAM frame only at the size of a packet and never to fill one up, so the first frame holds what
    the first write held (FINDINGS 1 asks for 8 bytes), unless the peer's connection window has less left.
    """

    __slots__ = ("_handed", "_lost", "_qh3", "_share", "arrived")

    def __init__(self, connection: Qh3Connection, stream_id: int) -> None:
        super().__init__(connection, stream_id)
        self._qh3 = connection
        self.arrived = 0
        "Bytes that the core delivered."
        self._handed = 0  # bytes that the core was given, while there is no share
        self._share: SendShare | None = None
        self._lost = 0  # at least as many bytes were unsent when the connection ended

    def engine_write(self, data: bytes, finish: bool) -> None:
        """See `BufferedStream`."""
        if self._share is None:
            self._handed += len(data)
            if self._handed <= SMALLEST_SHARE:
                self._hand_over(data, finish)
                self._qh3.stream_written(len(data))
                return
            self._share = SendShare(self.stream_id, self._handed - len(data))
        share = self._share
        if not data and not share.waiting:
            self._hand_over(data, finish)
            self._qh3.stream_written(0)
            return
        share.add(data, finish)
        self._qh3.shares.waiting[self.stream_id] = self
        handed = share.handed
        self.hand_over_share()
        if share.wants_mark:
            # Early, so that it is known to be acknowledged when the share is used up.
            share.look(self._qh3.core)
        self._qh3.stream_written(share.handed - handed)

    def hand_over_share(self) -> None:
        """Give the core what waits and has room. Raises StreamReset."""
        share, shares = self._share, self._qh3.shares
        if share is None:
            return
        if share.is_short and share.look(self._qh3.core) and share.room <= 0:
            shares.grow(share)
        while (piece := share.take(share.room)) is not None:
            self._hand_over(piece, share.ends and not share.waiting)
        if not share.waiting:
            del shares.waiting[self.stream_id]

    @property
    def waiting(self) -> int:
        """Bytes that the core was not given yet."""
        return 0 if self._share is None else self._share.waiting

    def drop_waiting(self) -> None:
        """Nothing more will be sent. Idempotent."""
        if self._share is not None:
            self._share.drop()
            self._qh3.shares.waiting.pop(self.stream_id, None)

    def release_share(self) -> None:
        """The core holds nothing of the stream any more. Idempotent."""
        if self._share is not None:
            self.drop_waiting()
            self._qh3.shares.give_back(self._share)

    def _hand_over(self, data: bytes | memoryview, finish: bool) -> None:
        try:
            self._qh3.core.send_stream(self.stream_id, data, finish)
        except ValueError as exc:
            # The core saw the peer's STOP_SENDING; its event, with the code, still waits behind others.
            self.peer_stopped(0)
            if data:
                raise StreamReset from exc
        except RuntimeError:
            # The core is closing: the event that says so is on its way.
            return

    def peer_stopped(self, code: int) -> None:
        """See `BufferedStream`."""
        super().peer_stopped(code)
        self.drop_waiting()

    def engine_unsent_backlog(self) -> int:
        """See `BufferedStream`."""
        return self.waiting + self._qh3.core.get_send_buffer_size(self.stream_id) or self._lost

    def connection_lost(self) -> None:
        """See `BufferedStream`. The core knows of no backlog once it is closing, but a waiting sender shows one."""
        self.release_share()
        if self._drain_waiter is not None:
            self._lost = SEND_LOW_WATER + 1
        super().connection_lost()

    def engine_reset(self, code: int) -> None:
        """See `BufferedStream`."""
        self.drop_waiting()
        self._qh3.stream_given_up()
        self._qh3.prepared.reset_asked(self.stream_id)
        with contextlib.suppress(ValueError, RuntimeError):
            self._qh3.core.reset_stream(self.stream_id, code)
        self._qh3.want_flush()

    def engine_stop(self, code: int) -> None:
        """See `BufferedStream`."""
        self._qh3.stream_given_up()
        self._qh3.prepared.stop_asked(self.stream_id, code)
        # ValueError: the core has seen the end of both directions, and nothing is left to stop.
        with contextlib.suppress(ValueError, RuntimeError):
            self._qh3.core.stop_sending(self.stream_id, code)
        self._qh3.want_flush()

    def engine_consumed(self, count: int) -> None:
        """See `BufferedStream`."""
        self._qh3.consumed(count)

    def refuse(self, code: int) -> None:
        """Give up what is unread: the reader gets StreamReset, the peer STOP_SENDING where it is not done."""
        is_open = self._receive_state == OPEN
        self._receive_state = OPEN  # also where the end arrived: what was not read is lost
        self.peer_reset(code)
        if is_open:
            self.engine_stop(code)
