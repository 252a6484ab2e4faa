"""What an asyncio protocol that reads from a service stands on: reads of a bounded size, whatever the kernel holds.

asyncio's plain protocols are handed up to 256 KiB at once, which would then wait for each of many slow visitors. Here
all connections of a thread read into one space, and what arrived leaves it as bytes before the next read. Reads are
large while few visitors are slow, and small while many are.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING
from weakref import WeakSet

if TYPE_CHECKING:
    from pyconnector.origins.net.inbox import Inbox

#: Largest piece that one read of a connection to a service returns.
READ_BYTES = 256 * 1024
#: The same while at least so many inboxes of the thread are full.
SMALL_READ_BYTES, MANY_FULL = 64 * 1024, 8


class _Space(threading.local):
    def __init__(self) -> None:
        self.large = memoryview(bytearray(READ_BYTES))
        self.small = self.large[:SMALL_READ_BYTES]
        self.full: WeakSet[Inbox] = WeakSet()


_space = _Space()


def full_inboxes() -> WeakSet[Inbox]:
    """The inboxes of this thread that hold much; they enter and leave it themselves."""
    return _space.full


def are_many_full() -> bool:
    """Whether so many inboxes of this thread are full that each should hold little."""
    return len(_space.full) >= MANY_FULL


class Reading(asyncio.BufferedProtocol):
    """A protocol with `data_received`, of at most `READ_BYTES` at a time."""

    def data_received(self, data: bytes) -> None:
        """Take what arrived."""
        raise NotImplementedError

    def get_buffer(self, sizehint: int) -> memoryview:
        """Lend the thread's space. The loops fill it and call `buffer_updated` without a turn in between."""
        return _space.small if are_many_full() else _space.large

    def buffer_updated(self, nbytes: int) -> None:
        """Hand on what was read."""
        self.data_received(bytes(_space.large[:nbytes]))
