"""The event loop of the command line: uvloop where it is installed. Only the command line chooses one.

It also keeps Python's garbage collector from looking at what was loaded for good, again and again: that took 5 ms each
time, which is what the slowest of a hundred requests waited for. A program that embeds a Connector decides that itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

#: Objects that may be new before the collector looks at them; Python's own 700 are those of some requests under way.
YOUNG_OBJECTS = 10_000
#: Half of the memory at the end of the heap that may stay free.
LARGE_BLOCK = 2 * 1024 * 1024
#: Seconds that a thread which reads a config may keep the interpreter when the event loop has something to do.
SWITCH_INTERVAL = 0.001


def run_loop(main: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Run what `main` makes to its end, on the fastest event loop that is installed."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    try:
        import uvloop

        factory = uvloop.new_event_loop
    except ImportError:
        pass
    # Everything that exists now was loaded for good.
    gc.freeze()
    gc.enable()
    sys.setswitchinterval(SWITCH_INTERVAL)
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main())


def settle() -> None:
    """Free what the start left behind, and take all that lasts out of the collector's sight.

    Called when the first connection is registered.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)
    keep_freed_memory()


def keep_freed_memory() -> None:
    """Let the allocator keep what pieces of large bodies free, for the next ones.

    glibc hands free memory at the end of the heap back to the system beyond a threshold, and takes it anew a moment
    later, with a page fault for every 4 KiB: a fifth of what a download cost. It raises the threshold to twice the
    largest block of its own that was freed (mallopt(3), M_MMAP_THRESHOLD), so one is, which no page was needed for.
    """
    bytes(LARGE_BLOCK)


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Keep the collector from looking at what a large config is made of while it is read: it stops everybody."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
