"""One worker as the main process sees it: its process, the link to it, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

from pyconnector.connector.tasks import TaskOwner
from pyconnector.connector.workers.link import Link, LinkLost

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pyconnector.connector.workers.messages import Question, Told

#: Module of the process.
MODULE = "pyconnector.connector.workers.process"


class Member:
    """A running worker. Made by `start`."""

    def __init__(
        self, number: int, *, answer: Callable[[Any], Awaitable[object]], on_told: Callable[[Any], None]
    ) -> None:
        self.number = number
        self._link = Link(answer=answer, on_told=on_told)
        self._tasks = TaskOwner(lambda task, error: None)
        self._process: asyncio.subprocess.Process

    def __repr__(self) -> str:
        return f"<Member {self.number} pid={self.pid}>"

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    async def start(self) -> None:
        """Start the process. Cancel leaves none behind.

        Raises:
            OSError: it cannot be started.
        """
        ours, theirs = socket.socketpair()
        try:
            ours.setblocking(False)
            # -P: a file beside the user must not stand in for a module of ours. Output goes where ours goes.
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", MODULE, str(theirs.fileno()),
                pass_fds=(theirs.fileno(),), stdin=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._tasks.spawn(self._link.run(ours), name=f"worker {self.number}")
        await self._link.opened()

    @property
    def is_clogged(self) -> bool:
        """See `Link.is_clogged`."""
        return self._link.is_clogged

    def tell(self, message: Told) -> None:
        """See `Link.tell`."""
        self._link.tell(message)

    async def ask(self, question: Question, timeout: float | None = None) -> Any:
        """Return the answer. Cancel drops it.

        Raises:
            LinkLost: the worker is gone, or has not answered within `timeout` seconds.
        """
        try:
            async with asyncio.timeout(timeout):
                return await self._link.ask(question)
        except TimeoutError as error:
            raise LinkLost("the worker does not answer") from error

    async def ended(self) -> int:
        """Wait until the process ended and all that it said was taken; return its exit code. Cancel at any time."""
        code = await self._process.wait()
        await self._tasks.wait_all()
        return code

    async def kill(self) -> None:
        """End it at once, if it has not ended. Idempotent. Cancel leaves it dying."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        await self._tasks.cancel_all()


def how_it_ended(code: int) -> str:
    """Say what an exit code means, in a few words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
