"""Standard input and output as one side of a connection, whatever they are: pipes, files, sockets, a terminal.

Reads and writes block in threads of their own, since an event loop watches no files. They are daemons: a process that
ends does not wait for input that never comes.
"""

from __future__ import annotations

import asyncio
import os
import select
import threading
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_PIECE: Final = 64 * 1024


class StandardStreams:
    """What ssh and other programs talk to as their ProxyCommand: an `End` of `agent.carry`."""

    half_closes = True

    def __init__(self, source: int = 0, sink: int = 1) -> None:
        self._source = _Thread("standard input", lambda: _read(source))
        self._sink = sink
        self._pending = b""
        self._writer = _Thread("standard output", self._write)

    async def receive(self) -> bytes:
        """Return bytes of standard input, b"" at its end. Cancel at any time: what is read then comes next.

        Raises:
            OSError: it cannot be read.
        """
        return await self._source.result()

    async def send(self, data: bytes) -> None:
        """Write bytes; returns when they are written.

        Raises:
            OSError: nobody reads them.
        """
        self._pending = data
        await self._writer.result()

    def finish(self) -> None:
        """Nothing: the end of the process says it."""

    def close(self) -> None:
        """Nothing: the streams are not ours."""

    def abort(self) -> None:
        """Nothing: the exit code says it."""

    def _write(self) -> bytes:
        left = memoryview(self._pending)
        while left:
            try:
                left = left[os.write(self._sink, left) :]
            except BlockingIOError:  # who shares the descriptor made it so
                select.select([], [self._sink], [])
        return b""


class _Thread:
    """Does one blocking act at a time, each when it is asked for."""

    def __init__(self, name: str, act: Callable[[], bytes]) -> None:
        self._name = name
        self._act = act
        self._wanted = threading.Semaphore(0)
        self._waiting: deque[asyncio.Future[bytes]] = deque()
        self._under_way: asyncio.Future[bytes] | None = None
        self._thread: threading.Thread | None = None

    async def result(self) -> bytes:
        """Return what the act gives. Cancel leaves it going on: its result is that of the next call."""
        if self._under_way is None:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            self._under_way = asyncio.get_running_loop().create_future()
            self._waiting.append(self._under_way)
            self._wanted.release()
        under_way = self._under_way
        result = await asyncio.shield(under_way)
        self._under_way = None
        return result

    def _run(self) -> None:
        while True:
            self._wanted.acquire()
            future = self._waiting.popleft()
            try:
                result: bytes | OSError = self._act()
            except OSError as error:
                result = error
            try:
                future.get_loop().call_soon_threadsafe(_settle, future, result)
            except RuntimeError:
                return  # the loop is closed


def _settle(future: asyncio.Future[bytes], result: bytes | OSError) -> None:
    if future.done():
        return
    if isinstance(result, OSError):
        future.set_exception(result)
    else:
        future.set_result(result)


def _read(source: int) -> bytes:
    while True:
        try:
            return os.read(source, _PIECE)
        except BlockingIOError:  # who shares the descriptor made it so
            select.select([source], [], [])
