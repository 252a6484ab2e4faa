"""Which event loop a test runs on: the standard library's, uvloop, whose transports differ where peers leave, or both;
or one in virtual time.

A test or module asks for both with `each_loop` in `usefixtures`, for virtual time with `virtual_time`.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Iterator

import pytest

from tests.support.loop.clock import VirtualLoop

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


@pytest.fixture
def virtual_time() -> Iterator[None]:
    """Run the test in virtual time: a wait for nothing is a failure and not a hang."""
    global _chosen
    _chosen = VirtualLoop
    yield
    _chosen = None


def new_loop() -> asyncio.AbstractEventLoop:
    """Make the loop that a fixture chose, else asyncio's default."""
    return (_chosen or asyncio.SelectorEventLoop)()
