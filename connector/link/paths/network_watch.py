"""Tells when addresses, links or routes of this machine change, so that nobody sleeps through the network's return.

Linux alone (rtnetlink(7)); elsewhere nothing is told, and waits end by themselves. What changed is not looked at: a
connection that waits finds out by trying.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import Callable, Iterator

#: Multicast groups of rtnetlink: links, addresses and routes of both families.
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
_NETLINK_ROUTE = 0
_MESSAGE_SPACE = 65_536
#: Reads of one turn of the loop; what is left is read in the next.
READS_PER_TURN = 16
#: Seconds without a further change, after which it is told: an uplink comes up in several steps.
QUIET = 0.2
#: Seconds after a first change at which it is told in any case, and least seconds between two tellings.
LONGEST_DELAY = 1.0


class NetworkWatch:
    """Calls everyone in `subscribe` once the network changed and is quiet again."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket | None = None
        self._subscribers: list[Callable[[], None]] = []
        self._first = 0.0  # when the first change came that was not told
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<NetworkWatch open={self._socket is not None} subscribers={len(self._subscribers)}>"

    def open(self) -> bool:
        """Begin to listen; False where the system does not tell, which is no failure. Call `close` at the end."""
        if sys.platform != "linux":
            return False
        try:
            listening = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_ROUTE)
        except OSError:
            return False  # a sandbox without netlink
        try:
            listening.setblocking(False)
            listening.bind((0, _GROUPS))
            self._loop.add_reader(listening, self._on_readable)
        except (OSError, NotImplementedError):
            listening.close()
            return False
        self._socket = listening
        return True

    def close(self) -> None:
        """Listen no more. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    @contextlib.contextmanager
    def subscribe(self, callback: Callable[[], None]) -> Iterator[None]:
        """Have `callback` called, which must not raise, at every change within the block."""
        self._subscribers.append(callback)
        try:
            yield
        finally:
            self._subscribers.remove(callback)

    def changed(self) -> None:
        """Something changed: tell of it once it is quiet."""
        now = self._loop.time()
        if self._timer is None:
            self._first = now
        else:
            self._timer.cancel()
        self._timer = self._loop.call_at(min(now + QUIET, self._first + LONGEST_DELAY), self._tell)

    def _on_readable(self) -> None:
        listening = self._socket
        if listening is None:
            return
        for _ in range(READS_PER_TURN):
            try:
                listening.recv(_MESSAGE_SPACE)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                pass  # ENOBUFS: there was more than the socket holds, so something changed
            self.changed()

    def _tell(self) -> None:
        self._timer = None
        for callback in tuple(self._subscribers):
            callback()
