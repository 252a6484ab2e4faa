"""Both event loops for tests of traffic: the standard library's and uvloop, whose transports differ where peers leave.

A module of tests asks for both with `each_loop` in `usefixtures`; its tests run their coroutines with `run_on_loop`.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pytest

T = TypeVar("T")

LOOPS = ("asyncio", "uvloop")

_chosen: Callable[[], asyncio.AbstractEventLoop] | None = None


@pytest.fixture(params=LOOPS)
def each_loop(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test once on each loop; the value is its name."""
    global _chosen
    name = str(request.param)
    if name == "uvloop":
        pytest.importorskip("uvloop", reason="the extra `fast` is not installed")
        _chosen = importlib.import_module("uvloop").new_event_loop
    else:
        _chosen = asyncio.SelectorEventLoop
    yield name
    _chosen = None


def run_on_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` on the loop that the test was given by `each_loop`, else on the default one."""
    with asyncio.Runner(loop_factory=_chosen) as runner:
        return runner.run(work)
