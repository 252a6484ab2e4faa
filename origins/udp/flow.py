"""One connected UDP socket towards a private service: read in bounded steps, written without waiting.

What the socket does not take at once waits in a bounded queue, at most `WRITE_DEADLINE` seconds; everything that is
dropped is told to the flow's owner with the reason (reference/wire.md 11, 12).
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from typing import Final, Protocol

from pyconnector.origins.net.dial import cause_of, literal_target

#: Largest payload that is carried either way (reference/wire.md 11).
MAX_PAYLOAD: Final = 1_280
#: Datagrams of one flow that are read in one turn of the loop: a flood holds nobody else up.
READS_PER_TURN: Final = 32
#: Datagrams that wait for a socket that is full; more are dropped.
WRITE_QUEUE: Final = 512
#: Seconds that one may wait there.
WRITE_DEADLINE: Final = 0.2

READ_TOO_LARGE: Final = "read_too_large"
WRITE_FULL: Final = "write_full"
WRITE_LATE: Final = "write_deadline_exceeded"
WRITE_FAILED: Final = "write_failed"


class FlowError(Exception):
    """A UDP socket could not be made. Its text is one sentence without a full stop."""


class FlowOwner(Protocol):
    """Who is told what a flow brings. Nothing here may raise."""

    def arrived(self, data: bytes) -> None:
        """The service sent `data`."""

    def dropped(self, reason: str) -> None:
        """A datagram was dropped, for one of the reasons above."""

    def broken(self, cause: str, *, reading: bool) -> None:
        """The system says that the service cannot be reached; `reading` tells which direction noticed."""


class UdpFlow:
    """A socket between `open` and `close`."""

    __slots__ = ("_closed", "_loop", "_owner", "_pending", "_reading", "_socket", "_where")

    def __init__(self, sock: socket.socket, owner: FlowOwner, where: str) -> None:
        self._socket = sock
        self._owner = owner
        self._where = where
        self._loop = asyncio.get_running_loop()
        self._pending: deque[tuple[float, bytes]] = deque()
        self._closed = False
        self._reading: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<UdpFlow {self._where} pending={len(self._pending)} closed={self._closed}>"

    @classmethod
    def open(cls, host: str, port: int, owner: FlowOwner) -> UdpFlow:
        """Make a socket that sends to, and hears from, the literal address `host` and `port` alone.

        Raises:
            FlowError: there is no such address, no way there, or no socket left.
        """
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        target = literal_target(host, port)
        if target is None or not 0 < port < 65_536:
            raise FlowError(f"{where} is no address with a port")
        sock = None
        try:
            sock = socket.socket(target[0], socket.SOCK_DGRAM)
            sock.setblocking(False)
            sock.connect(target[1])
        except OSError as error:
            if sock is not None:
                sock.close()
            raise FlowError(cause_of(error, where)) from error
        flow = cls(sock, owner, where)
        try:
            flow._loop.add_reader(sock, flow._on_readable)
        except NotImplementedError:  # Windows' own loop
            flow._reading = flow._loop.create_task(flow._read_on(), name=f"udp flow to {where}")
        return flow

    def send(self, data: bytes) -> None:
        """Send `data`, or queue it where the socket is full; drop what finds no room. Never blocks, never raises."""
        if self._closed:
            return
        if self._pending:
            self._queue(data)
            return
        try:
            self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            self._queue(data)
        except OSError as error:
            self._owner.dropped(WRITE_FAILED)
            self._owner.broken(cause_of(error, self._where), reading=False)

    def close(self) -> None:
        """Close the socket; what waits is dropped. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._pending.clear()
        if self._reading is not None:
            self._reading.cancel()
        else:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
        self._socket.close()

    def _queue(self, data: bytes) -> None:
        if len(self._pending) >= WRITE_QUEUE:
            self._flush()
        if self._closed:
            return
        if len(self._pending) >= WRITE_QUEUE:
            self._owner.dropped(WRITE_FULL)
            return
        if not self._pending:
            try:
                self._loop.add_writer(self._socket, self._flush)
            except NotImplementedError:
                self._owner.dropped(WRITE_FULL)
                return
        self._pending.append((self._loop.time() + WRITE_DEADLINE, data))

    def _flush(self) -> None:
        """Send what waits, as far as the socket takes it, and drop what waited too long."""
        now = self._loop.time()
        while self._pending and not self._closed:
            deadline, data = self._pending[0]
            if deadline < now:
                self._pending.popleft()
                self._owner.dropped(WRITE_LATE)
                continue
            try:
                self._socket.send(data)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._pending.popleft()
                self._owner.dropped(WRITE_FAILED)
                self._owner.broken(cause_of(error, self._where), reading=False)
                continue
            self._pending.popleft()
        if not self._closed:
            self._loop.remove_writer(self._socket)

    def _on_readable(self) -> None:
        receive, owner = self._socket.recv, self._owner
        for _ in range(READS_PER_TURN):
            try:
                data = receive(MAX_PAYLOAD + 1)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                owner.broken(cause_of(error, self._where), reading=True)
                return
            if len(data) > MAX_PAYLOAD:
                owner.dropped(READ_TOO_LARGE)
            else:
                owner.arrived(data)
            if self._closed:
                return

    async def _read_on(self) -> None:
        """Read where the loop cannot watch a socket. Cancel at any time."""
        while not self._closed:
            try:
                data = await self._loop.sock_recv(self._socket, MAX_PAYLOAD + 1)
            except OSError as error:
                self._owner.broken(cause_of(error, self._where), reading=True)
                return
            if len(data) > MAX_PAYLOAD:
                self._owner.dropped(READ_TOO_LARGE)
            else:
                self._owner.arrived(data)
