"""The body of a file, read piece by piece in threads and no further than it is taken."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from pyconnector.origins.base import Headers, OriginError, OriginResponse

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor


class FileResponse(OriginResponse):
    """Bytes of an open file, which it owns. `closed` is called once it is closed."""

    def __init__(
        self, status: int, headers: Headers, file: int, extent: tuple[int, int], threads: Executor,
        closed: Callable[[], None],
    ) -> None:  # fmt: skip
        """`extent` is the first byte and how many."""
        self.status = status
        self.headers = headers
        self.trailers: Headers = []
        self._file: int | None = file
        self._at, self._left = extent
        self._threads = threads
        self._closed = closed
        self._piece = b""  # read, but not taken: whoever waited for it was cancelled
        self._reading: asyncio.Future[bytes] | None = None
        if not self._left:
            self._close()

    def receive_nowait(self, limit: int = 65_536) -> bytes | None:
        """See `OriginResponse.receive_nowait`."""
        if self._piece:
            taken, self._piece = self._piece[:limit], self._piece[limit:]
            return taken
        return None if self._left else b""

    async def receive(self, limit: int = 65_536) -> bytes:
        """See `OriginResponse.receive`. Cancel at any time: no byte is lost."""
        while (data := self.receive_nowait(limit)) is None:
            if self._file is None:
                raise OriginError("The file is not read any more")
            if self._reading is None:
                size = min(limit, self._left)
                loop = asyncio.get_running_loop()
                self._reading = loop.run_in_executor(self._threads, os.pread, self._file, size, self._at)
                self._reading.add_done_callback(self._read)
            await asyncio.wait([self._reading])
            self._take()
        return data

    async def finish(self) -> None:
        """Close the file. Never waits."""
        self.abort()

    def abort(self) -> None:
        """Close the file. Idempotent."""
        self._left, self._piece = 0, b""
        self._close()

    def _take(self) -> None:
        reading, self._reading = self._reading, None
        if reading is None or not self._left:
            return
        error = reading.exception()
        if error is not None:
            self._close()
            raise OriginError("The file cannot be read any further") from error
        data = reading.result()
        if not data:
            self._close()
            raise OriginError("The file became shorter while it was being read")
        self._piece = data
        self._at += len(data)
        self._left -= len(data)
        if not self._left:
            self._close()

    def _close(self) -> None:
        if self._file is not None and (self._reading is None or self._reading.done()):
            file, self._file = self._file, None
            os.close(file)
            self._closed()

    def _read(self, reading: asyncio.Future[bytes]) -> None:
        if not reading.cancelled():
            reading.exception()  # whoever asked may be gone
        if not self._left:
            self._close()  # it was given up meanwhile
