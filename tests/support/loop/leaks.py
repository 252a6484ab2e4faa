"""Proof that nothing was left behind: tasks, file descriptors and (coarsely) memory before and after a block.

Every coroutine test is watched so (`leaves_nothing` of tests/conftest.py); a test may watch a part of itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import re
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass

#: Seconds that things have to go by themselves. Nothing waits that long unless it leaks.
PATIENCE = 20.0
_PROC = "/proc/self"


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a process holds, by kind."""

    tasks: Counter[str]
    descriptors: Counter[str]

    def more_than(self, before: Holdings) -> str:
        """Say what is here and was not before; empty where nothing is."""
        tasks, descriptors = self.tasks - before.tasks, self.descriptors - before.descriptors
        kinds = [f"{count} tasks {name!r}" for name, count in tasks.items()]
        kinds += [f"{count} descriptors of {name}" for name, count in descriptors.items()]
        return ", ".join(kinds)


def holdings() -> Holdings:
    """Count this process's tasks by name without digits, and its descriptors by kind."""
    tasks = Counter(re.sub(r"[0-9a-f-]*\d[0-9a-f-]*", "#", task.get_name()) for task in asyncio.all_tasks())
    return Holdings(tasks, Counter(_descriptors()))


def _descriptors() -> list[str]:
    if not os.path.isdir(f"{_PROC}/fd"):
        return []
    found = []
    for number in os.listdir(f"{_PROC}/fd"):
        with contextlib.suppress(OSError):  # the listing's own, gone by now
            found.append(os.readlink(f"{_PROC}/fd/{number}").partition(":")[0])
    return [kind for kind in found if kind != "/dev/null"]  # which uvloop opens once, for bad times


def resident_bytes() -> int:
    """Memory that this process has in RAM; 0 where the system does not tell."""
    gc.collect()
    try:
        with open(f"{_PROC}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except FileNotFoundError:
        return 0


def live_objects() -> int:
    """Objects that the garbage collector knows."""
    gc.collect()
    return len(gc.get_objects())


@contextlib.asynccontextmanager
async def nothing_left(*, objects: int | None = None, resident: int | None = None) -> AsyncIterator[None]:
    """Fail where the block leaves tasks or descriptors, or more than so many objects or bytes of resident memory."""
    before = holdings()
    objects_before = live_objects() if objects is not None else 0
    resident_before = resident_bytes() if resident is not None else 0
    yield
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE
    while left := holdings().more_than(before):
        assert loop.time() < deadline, f"left behind: {left}"
        await asyncio.sleep(0.01)
    if objects is not None:
        grown = live_objects() - objects_before
        assert grown <= objects, f"left behind: {grown} objects"
    if resident is not None:
        grown = resident_bytes() - resident_before
        assert grown <= resident, f"left behind: {grown / 1024:.0f} KiB of memory"
