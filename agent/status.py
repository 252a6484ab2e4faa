"""A running `mesh join` tells other processes of the same user how it is, and ends when it is asked to.

They meet at a Unix socket, mode 0600 in a directory of mode 0700, named after the proxy's port. A question is one line,
`status` or `leave`; the answer is one line of JSON. Secrets are not in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

DIRECTORY: Final = "~/.pyconnector/run"
STATUS, LEAVE = "status", "leave"
#: Bytes of a question and of an answer, and seconds for one.
MAX_QUESTION: Final = 64
MAX_ANSWER: Final = 64 * 1024
TIMEOUT: Final = 15.0
_PREFIX, _SUFFIX = "mesh-join-", ".sock"


class StatusError(Exception):
    """Nobody answers, or not as it must be. The text is one sentence."""


class StatusSocket:
    """Answers questions between `start` and `close`."""

    def __init__(self, status: Callable[[], Awaitable[dict[str, Any]]], leave: Callable[[], None]) -> None:
        self._status = status
        self._leave = leave
        self._server: asyncio.Server | None = None
        self._path: Path | None = None
        self._asking: set[asyncio.Task[None]] = set()

    async def start(self, port: int, directory: str | Path = DIRECTORY) -> Path:
        """Listen for the proxy at `port`, which nobody else can have; return where.

        Raises:
            OSError: that cannot be, or this system has no such sockets.
        """
        path = _path(port, directory)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.chmod(0o700)
        with contextlib.suppress(FileNotFoundError):
            path.unlink()  # of a process that was killed
        listener = socket.socket(_family(), socket.SOCK_STREAM)
        try:
            listener.bind(str(path))
            path.chmod(0o600)
            self._server = await asyncio.start_unix_server(self._accept, sock=listener, limit=MAX_QUESTION)
        except BaseException:
            listener.close()
            raise
        self._path = path
        return path

    async def close(self) -> None:
        """Stop answering. Idempotent."""
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
            self._path = None
        asking = self._asking - {asyncio.current_task()}
        for task in asking:
            task.cancel()
        if asking:
            await asyncio.wait(asking)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._asking.add(task)
        try:
            async with asyncio.timeout(TIMEOUT):
                question = (await reader.readline()).decode("ascii").strip()
                if question == STATUS:
                    answer = await self._status()
                elif question == LEAVE:
                    answer = {"leaving": True}
                else:
                    answer = {"error": "the question is status or leave"}
                writer.write(json.dumps(answer).encode("ascii") + b"\n")
                await writer.drain()
            if question == LEAVE:
                self._leave()
        except (OSError, ValueError, TimeoutError, asyncio.CancelledError):
            pass  # who asks left, or does not speak this; or this ends
        finally:
            self._asking.discard(task)
            writer.close()


@dataclass(frozen=True, slots=True)
class Joined:
    """A `mesh join` of this user that answers."""

    port: int
    path: Path

    def ask(self, question: str) -> dict[str, Any]:
        """Return the answer. Blocks.

        Raises:
            StatusError: there is none.
        """
        try:
            with socket.socket(_family(), socket.SOCK_STREAM) as asking:
                asking.settimeout(TIMEOUT)
                asking.connect(str(self.path))
                asking.sendall(question.encode("ascii") + b"\n")
                data = b""
                while not data.endswith(b"\n") and len(data) < MAX_ANSWER:
                    piece = asking.recv(MAX_ANSWER)
                    if not piece:
                        break
                    data += piece
            answer = json.loads(data)
        except (OSError, ValueError) as error:
            raise StatusError(f"the mesh join at port {self.port} does not answer") from error
        if not isinstance(answer, dict) or "error" in answer:
            raise StatusError(f"the mesh join at port {self.port} does not understand the question")
        return answer


def find_joined(directory: str | Path = DIRECTORY) -> list[Joined]:
    """Return what has joined, by port. What a killed process left is taken away."""
    found = []
    for path in Path(directory).expanduser().glob(f"{_PREFIX}*{_SUFFIX}"):
        text = path.name.removeprefix(_PREFIX).removesuffix(_SUFFIX)
        if not text.isdigit() or len(text) > 5:
            continue
        try:
            with socket.socket(_family(), socket.SOCK_STREAM) as asking:
                asking.settimeout(TIMEOUT)
                asking.connect(str(path))
                asking.sendall(b"\n")  # no question: it says so, and whoever listens is alive
                asking.recv(MAX_ANSWER)
        except ConnectionRefusedError:
            with contextlib.suppress(OSError):
                path.unlink()
            continue
        except OSError:
            continue
        found.append(Joined(int(text), path))
    return sorted(found, key=lambda joined: joined.port)


def _path(port: int, directory: str | Path) -> Path:
    return Path(directory).expanduser() / f"{_PREFIX}{port}{_SUFFIX}"


def _family() -> int:
    family = getattr(socket, "AF_UNIX", None)
    if family is None:
        raise OSError("this system has no Unix sockets")
    return int(family)
