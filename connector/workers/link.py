"""The connection between the main process and one worker: things told, and questions with answers, both ways.

Messages are pickles with their length before them, over a socket that nobody else has: each process is started by the
other's user and from the same installation.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import pickle
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from pyconnector.connector.tasks import TaskOwner

if TYPE_CHECKING:
    from pyconnector.connector.workers.messages import Question, Told

#: Longest message: a config of many thousand rules.
MAX_MESSAGE_BYTES = 256 << 20
#: Unsent bytes beyond which log lines are dropped rather than kept.
BACKLOG_BYTES = 4 << 20
#: Longest wait for the other end to take what was told before the end.
CLOSE_SECONDS = 2.0
_LENGTH = struct.Struct(">I")
_TOLD, _ASKED, _ANSWERED, _FAILED = range(4)


class LinkLost(Exception):
    """The process at the other end is gone."""


class Link:
    """One end. `answer` makes the answer to a question, `on_told` takes what needs none."""

    def __init__(self, *, answer: Callable[[Any], Awaitable[object]], on_told: Callable[[Any], None]) -> None:
        self._answer = answer
        self._on_told = on_told
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._answering = TaskOwner(lambda task, error: None)  # a failure is the answer
        self._writer: asyncio.StreamWriter | None = None
        self._lost = False
        self._open = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Link lost={self._lost} asked={len(self._asked)}>"

    async def run(self, sock: socket.socket) -> None:
        """Serve the link until the other end closes it, or dies. Cancel closes it."""
        reader, self._writer = await asyncio.open_unix_connection(sock=sock)
        self._open.set()
        try:
            while True:
                (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
                if length > MAX_MESSAGE_BYTES:
                    return
                kind, number, value = pickle.loads(await reader.readexactly(length))
                self._received(kind, number, value)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._lost = True
            self._writer.close()
            for future in self._asked.values():
                if not future.done():
                    future.set_exception(LinkLost("the other process is gone"))
            self._asked.clear()
            await self._answering.cancel_all()

    async def opened(self) -> None:
        """Wait until things can be told. Cancel at any time."""
        await self._open.wait()

    async def close(self) -> None:
        """Send what was told, at most for `CLOSE_SECONDS`, and close. Cancel closes at once. Idempotent."""
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._writer.wait_closed()

    @property
    def is_clogged(self) -> bool:
        """Whether so much is unsent that what can be spared should not be told."""
        return self._writer is None or self._writer.transport.get_write_buffer_size() > BACKLOG_BYTES

    def tell(self, message: Told) -> None:
        """Send what needs no answer. Nothing happens once the link is lost."""
        self._send(_TOLD, 0, message)

    async def ask(self, question: Question) -> Any:
        """Return the answer. Cancel drops it.

        Raises:
            LinkLost: the other process is gone, or fails to answer.
        """
        if self._lost or self._writer is None:
            raise LinkLost("the other process is gone")
        number = next(self._numbers)
        future = self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            self._send(_ASKED, number, question)
            return await future
        finally:
            self._asked.pop(number, None)

    def _send(self, kind: int, number: int, value: object) -> None:
        if self._writer is not None and not self._lost:
            data = pickle.dumps((kind, number, value), protocol=pickle.HIGHEST_PROTOCOL)
            self._writer.write(_LENGTH.pack(len(data)) + data)

    def _received(self, kind: int, number: int, value: Any) -> None:
        if kind == _TOLD:
            self._on_told(value)
        elif kind == _ASKED:
            self._answering.spawn(self._respond(number, value), name="worker question")
        elif (future := self._asked.pop(number, None)) is not None and not future.done():
            if kind == _ANSWERED:
                future.set_result(value)
            else:
                future.set_exception(LinkLost(value))

    async def _respond(self, number: int, question: Any) -> None:
        try:
            answer = await self._answer(question)
        except Exception as error:
            self._send(_FAILED, number, f"{type(error).__name__}: {error}")
            raise
        self._send(_ANSWERED, number, answer)
