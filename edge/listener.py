"""A TCP listener that outlives a lack of file descriptors: it says so, waits, and goes on accepting.

The standard library's tries to accept a thousand times a second and logs each attempt with a traceback; uvloop's turns
visitors away without a word, or closes.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import sys
from typing import TYPE_CHECKING, Any

from pyconnector.edge.settings import host_port_text
from pyconnector.edge.tasks import TaskSet

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

BACKLOG = 1024
#: Sockets accepted in one turn of the loop.
ACCEPTS_A_TURN = 32
#: Seconds until the next attempt where the system has no descriptor or no memory for one more socket.
RETRY = 0.5
#: Seconds between two log lines about that.
LOG_EVERY = 60.0

#: TLS handshakes under way at once; who comes beyond is turned away.
MAX_HANDSHAKES = 256
#: Seconds for a TLS handshake, and for the goodbye of TLS.
HANDSHAKE_TIMEOUT, SHUTDOWN_TIMEOUT = 10.0, 1.0

_OUT_OF_RESOURCES = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))

_log = logging.getLogger("pyconnector.edge")


class Listener:
    """Accepts connections from `start` to `close`, each with a protocol of its own."""

    def __init__(
        self, factory: Callable[[], asyncio.BaseProtocol], what: str, *, tls: ssl.SSLContext | None = None
    ) -> None:
        """`what` says in the log who is waiting, such as "visitors". With `tls` protocols begin after the handshake."""
        self._factory = factory
        self._what = what
        self._tls = tls
        self._sockets: list[socket.socket] = []
        self._retries: dict[socket.socket, asyncio.TimerHandle] = {}
        self._server: asyncio.Server | None = None
        self._tasks = TaskSet()
        self._told: float | None = None

    def __repr__(self) -> str:
        return f"<Listener for {self._what}, {len(self._sockets)} sockets, {len(self._retries)} wait>"

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen at every address of `host`, and return the first. Cancel leaves nothing open.

        Raises:
            OSError: an address is taken or not ours; or a name of nobody; its `strerror` says which.
        """
        loop = asyncio.get_running_loop()
        if sys.platform == "win32":
            # Its default loop watches no sockets for readers.
            self._server = await loop.create_server(self._factory, host, port, backlog=BACKLOG, ssl=self._tls)
            bound = self._server.sockets[0].getsockname()
            return str(bound[0]), int(bound[1])
        try:
            found = await loop.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        except socket.gaierror as error:
            raise OSError(error.errno, f"{host_port_text((host, port))}: {error.strerror}") from error
        try:
            for family, address in dict.fromkeys((entry[0], entry[4]) for entry in found):
                listening = socket.create_server((str(address[0]), port), family=family, backlog=BACKLOG)
                # Accepted sockets have it from here; asyncio would leave it out.
                listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sockets.append(listening)
                listening.setblocking(False)
        except OSError as error:
            self.close()
            # What the library says holds the address as Python writes a tuple.
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise OSError(error.errno, f"{host_port_text((host, port))}: {reason}") from error
        for listening in self._sockets:
            loop.add_reader(listening, self._accept, listening)
        bound = self._sockets[0].getsockname()
        return str(bound[0]), int(bound[1])

    def close(self) -> None:
        """Accept nobody any more; who was accepted stays. Idempotent."""
        if self._server is not None:
            self._server.close()
        for timer in self._retries.values():
            timer.cancel()
        self._retries.clear()
        sockets, self._sockets = self._sockets, []
        for listening in sockets:
            asyncio.get_running_loop().remove_reader(listening)
            listening.close()

    async def wait_closed(self) -> None:
        """Wait until whoever was accepted has come to their protocol, whose owner closes them. Cancel at any time."""
        # Not cancelled: a task that has not begun yet would leave its socket open.
        await self._tasks.wait_all()

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTS_A_TURN):
            try:
                accepted, _ = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as exc:
                if exc.errno not in _OUT_OF_RESOURCES:
                    continue  # that concerns the one who came, accept(2)
                self._wait_for_resources(listening, exc)
                return
            accepted.setblocking(False)
            if self._tls is not None and len(self._tasks) >= MAX_HANDSHAKES:
                accepted.close()
                continue
            self._tasks.start(self._join(accepted), f"edge accept of {self._what}")

    async def _join(self, accepted: socket.socket) -> None:
        try:
            if self._tls is None:
                await asyncio.get_running_loop().connect_accepted_socket(self._protocol, accepted)
            else:
                await asyncio.get_running_loop().connect_accepted_socket(
                    self._protocol,
                    accepted,
                    ssl=self._tls,
                    ssl_handshake_timeout=HANDSHAKE_TIMEOUT,
                    ssl_shutdown_timeout=SHUTDOWN_TIMEOUT,
                )
        except OSError:
            accepted.close()  # it left at once, or does not speak TLS
        except BaseException:
            accepted.close()
            raise

    def _protocol(self) -> Any:
        return self._factory()

    def _wait_for_resources(self, listening: socket.socket, reason: OSError) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(listening)
        self._retries[listening] = loop.call_later(RETRY, self._retry, listening)
        if self._told is None or loop.time() - self._told >= LOG_EVERY:
            self._told = loop.time()
            _log.error(
                "%s wait, for the system has no more room for sockets (%s): raise the limit of open files (ulimit -n)",
                self._what,
                reason.strerror,
            )

    def _retry(self, listening: socket.socket) -> None:
        del self._retries[listening]
        asyncio.get_running_loop().add_reader(listening, self._accept, listening)
        self._accept(listening)
