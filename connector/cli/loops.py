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
