"""How what streams have to say gets out: a frame of each in turn, as windows and the socket allow."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio

    from pyconnector.transport.http2.core import Core
    from pyconnector.transport.http2.stream import Http2Stream

#: Longest data frame that is sent.
MAX_FRAME = 32 * 1024
#: Payload of a data frame from which on it calls for an update of windows; smaller ones do where they end a piece.
COUNTED_FRAME = 512
#: Frames that are made in one turn of the loop.
FRAMES_A_TURN = 32
#: Bytes that are gathered before the socket gets them.
BATCH = 128 * 1024
#: What a field section counts of these.
FIELDS_SIZE = 64
#: Bytes that the socket takes before streams wait for it.
WRITE_HIGH_WATER = 256 * 1024


class Sender(Protocol):
    """The connection, as its outgoing frames see it."""

    def sent(self, stream: Http2Stream) -> None:
        """All that `stream` had to say is out."""

    def data_sent(self) -> None:
        """A data frame is out, for which the peer will open two windows."""


class Outgoing:
    """The sending half of one connection."""

    def __init__(self, core: Core, socket: asyncio.Transport, owner: Sender) -> None:
        self.paused = False
        "Whether the socket has enough."
        self.written = 0
        "Bytes handed to the socket."
        self._core = core
        self._socket = socket
        self._owner = owner
        self._turn: deque[Http2Stream] = deque()
        self._waiting: set[Http2Stream] = set()
        "Those in `_turn`."
        self._blocked: set[Http2Stream] = set()
        "Those whose own window is closed."
        socket.set_write_buffer_limits(high=WRITE_HIGH_WATER)

    def add(self, stream: Http2Stream) -> None:
        """`stream` has something to send."""
        if stream not in self._waiting and stream not in self._blocked:
            self._waiting.add(stream)
            self._turn.append(stream)

    def window_opened(self, stream: Http2Stream | None) -> None:
        """The window of `stream` opened, or with None the common one, for which nobody but `pump` waits."""
        if stream is not None and stream in self._blocked:
            self._blocked.discard(stream)
            self.add(stream)

    def all_windows_moved(self) -> int:
        """The peer chose another first window; return how many streams may go on."""
        blocked, self._blocked = self._blocked, set()
        for stream in blocked:
            self.add(stream)
        return len(blocked)

    def pump(self) -> bool:
        """Send a turn's worth of frames; True where more could be sent in the next."""
        frames = queued = 0
        turn = self._turn
        while turn and not self.paused:
            if frames >= FRAMES_A_TURN:
                self.flush()
                return bool(turn) and not self.paused
            stream = turn.popleft()
            if not stream.has_queued:
                self._waiting.discard(stream)
                continue
            size = self._send_one(stream)
            if size < 0:  # the common window is closed
                turn.appendleft(stream)
                break
            frames += 1
            queued += size
            if queued >= BATCH:
                self.flush()
                queued = 0
            if stream in self._blocked or not stream.has_queued:
                self._waiting.discard(stream)
            else:
                turn.append(stream)
            if stream.end_sent:
                self._owner.sent(stream)
        self.flush()
        return False

    def flush(self) -> None:
        """Hand the socket what is queued."""
        data = self._core.take()
        if data and not self._socket.is_closing():
            self.written += len(data)
            self._socket.write(data)

    def _send_one(self, stream: Http2Stream) -> int:
        """Send what comes next on `stream`; return its size, or -1 where the common window is closed.

        A head goes together with the first piece behind it.
        """
        core, size = self._core, 0
        if (fields := stream.take_fields()) is not None:
            core.send_fields(stream.stream_id, fields, end=stream.end_sent)
            size = FIELDS_SIZE
            if not stream.has_body_next:
                return size
        window = min(core.send_window, stream.send_window)
        if window <= 0 and stream.engine_unsent_backlog():
            if core.send_window <= 0:
                return -1
            self._blocked.add(stream)
            return size
        data, end = stream.take_data(max(0, min(window, MAX_FRAME, core.max_frame)))
        stream.send_window -= len(data)
        core.send_data(stream.stream_id, data, end=end)
        if len(data) >= COUNTED_FRAME or (data and not stream.engine_unsent_backlog()):
            self._owner.data_sent()
        return size + len(data)
