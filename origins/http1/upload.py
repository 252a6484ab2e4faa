"""A request body on its way to the origin: framed, held to its length, and no faster than the origin takes it.

What has arrived when the request starts goes out with the head in one write; only what comes later needs a task.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Protocol

from pyconnector.origins.base import ByteReader, OriginError
from pyconnector.origins.failures import ended_abruptly

#: Bytes of body that go out together with the head.
OPENING_BYTES = 64 * 1024
#: Largest piece that is read from the visitor at once.
PIECE_BYTES = 64 * 1024
#: Seconds that a body waits for `100 Continue` before it is sent all the same (reference/ingress.md 7).
CONTINUE_TIMEOUT = 1.0
#: Largest body that is held back to learn its length where chunked framing is not wanted.
MAX_MEASURED_BODY = 1024 * 1024


class Outlet(Protocol):
    """Where a body goes: the connection to the origin."""

    write_paused: bool

    def write(self, data: bytes) -> None:
        """Queue `data`."""

    async def drain(self) -> None:
        """Wait until more may be queued."""


class Upload:
    """One body. `done` once every byte of it, and no byte too many, was handed to the transport."""

    __slots__ = ("_advanced", "_at_end", "_body", "_gate", "_left", "_task", "done")

    def __init__(self, body: ByteReader, length: int | None, *, waits_for_continue: bool = False) -> None:
        self._body = body
        self._left = length
        self._gate = asyncio.Event() if waits_for_continue else None
        self._task: asyncio.Task[None] | None = None
        self._advanced = False
        self._at_end = False
        self.done = False

    @property
    def is_waiting(self) -> bool:
        """Whether the body is held back until the origin says `100 Continue`."""
        return self._gate is not None and not self._gate.is_set()

    def opening(self) -> bytes:
        """What of the body can go out with the head. Raises OriginError as the framing does."""
        if self._gate is not None:
            return b""
        pieces: list[bytes] = []
        size = 0
        while size < OPENING_BYTES and not self._at_end:
            data = _read_nowait(self._body)
            if data is None:
                break
            pieces.append(self._framed(data))
            size += len(data)
        self.done = self._at_end
        return b"".join(pieces)

    def start(self, outlet: Outlet, ended: Callable[[asyncio.Task[None]], None]) -> None:
        """Send the rest in a task; `ended` is called with it however it ends, and reads its outcome."""
        self._task = asyncio.get_running_loop().create_task(self._run(outlet), name="upload to an origin")
        self._task.add_done_callback(ended)

    def proceed(self) -> None:
        """The origin said that it wants the body."""
        if self._gate is not None:
            self._gate.set()

    def is_sent_by(self, task: asyncio.Task[None]) -> bool:
        """Whether `task` is the one that `start` made."""
        return self._task is task

    def cancel(self) -> None:
        """Stop reading the body. Idempotent."""
        if self._task is not None:
            self._task.cancel()

    async def rewind(self) -> bool:
        """Stop; True where nothing was read but what `opening` returned, so that another connection can be tried."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        return not self._advanced

    async def _run(self, outlet: Outlet) -> None:
        if self._gate is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CONTINUE_TIMEOUT):
                    await self._gate.wait()
            self._gate.set()
        while not self.done:
            if outlet.write_paused:
                await outlet.drain()
            data = self._body.receive_nowait(PIECE_BYTES)
            if data is None:
                data = await self._body.receive(PIECE_BYTES)
            self._advanced = True
            outlet.write(self._framed(data))
            self.done = self._at_end  # not before: a connection whose upload is done serves the next request

    def _framed(self, data: bytes) -> bytes:
        """`data` as it goes on the wire; b"" ends a chunked body."""
        left = self._left
        if left is None:
            if data:
                return b"%x\r\n%b\r\n" % (len(data), data)
            self._at_end = True
            return b"0\r\n\r\n"
        if not data:
            raise ended_abruptly(f"its body is {left} bytes shorter than its Content-Length")
        left = self._left = left - len(data)
        self._at_end = left == 0
        if left < 0 or (left == 0 and _read_nowait(self._body)):
            raise ended_abruptly("its body is longer than its Content-Length")
        return data


async def measured(body: ByteReader) -> bytes:
    """Read a whole body of unknown length.

    Cancel loses what was read.

    Raises:
        OriginError: it is larger than `MAX_MEASURED_BODY` (status 411: the visitor has to tell its length).
    """
    pieces: list[bytes] = []
    size = 0
    while True:
        try:
            data = await body.receive(PIECE_BYTES)
        except Exception as error:
            raise ended_abruptly(str(error) or type(error).__name__) from error
        if not data:
            return b"".join(pieces)
        pieces.append(data)
        size += len(data)
        if size > MAX_MEASURED_BODY:
            raise OriginError(
                "The request body has no length, disableChunkedEncoding forbids to send it without one, and more than "
                f"{MAX_MEASURED_BODY} bytes of it would have to be held back to learn it",
                411,
            )


def _read_nowait(body: ByteReader) -> bytes | None:
    try:
        return body.receive_nowait(PIECE_BYTES)
    except Exception as error:
        raise ended_abruptly(str(error) or type(error).__name__) from error
