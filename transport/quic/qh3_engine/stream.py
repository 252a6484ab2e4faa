"""One stream of the qh3 engine: each hook is one call into the native core, and its errors are translated here."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from pyconnector.transport.buffers.stream import _OPEN as OPEN
from pyconnector.transport.buffers.stream import BufferedStream
from pyconnector.transport.errors import StreamReset
from pyconnector.transport.seam import SEND_LOW_WATER

if TYPE_CHECKING:
    from pyconnector.transport.quic.qh3_engine.connection import Qh3Connection


class Qh3Stream(BufferedStream):
    """A stream whose unsent bytes wait in the core.

    The core cuts a STREAM frame only at the size of a packet and never to fill one up, so the first frame holds what
    the first write held (FINDINGS 1 asks for 8 bytes), unless the peer's connection window has less left.
    """

    __slots__ = ("_lost", "_qh3", "arrived")

    def __init__(self, connection: Qh3Connection, stream_id: int) -> None:
        super().__init__(connection, stream_id)
        self._qh3 = connection
        self.arrived = 0
        "Bytes that the core delivered."
        self._lost = 0  # at least as many bytes were unsent when the connection ended

    def engine_write(self, data: bytes, finish: bool) -> None:
        """See `BufferedStream`."""
        qh3 = self._qh3
        try:
            qh3.core.send_stream(self.stream_id, data, finish)
        except ValueError as exc:
            # The core saw the peer's STOP_SENDING; its event, with the code, still waits behind others.
            self.peer_stopped(0)
            if data:
                raise StreamReset from exc
        except RuntimeError:
            # The core is closing: the event that says so is on its way.
            return
        qh3.stream_written(len(data))

    def engine_unsent_backlog(self) -> int:
        """See `BufferedStream`."""
        return self._qh3.core.get_send_buffer_size(self.stream_id) or self._lost

    def connection_lost(self) -> None:
        """See `BufferedStream`. The core knows of no backlog once it is closing, but a waiting sender shows one."""
        if self._drain_waiter is not None:
            self._lost = SEND_LOW_WATER + 1
        super().connection_lost()

    def engine_reset(self, code: int) -> None:
        """See `BufferedStream`."""
        with contextlib.suppress(ValueError, RuntimeError):
            self._qh3.core.reset_stream(self.stream_id, code)
        self._qh3.want_flush()

    def engine_stop(self, code: int) -> None:
        """See `BufferedStream`."""
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
