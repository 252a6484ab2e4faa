"""What holds for every test: on which event loop its coroutine runs, that it leaves nothing behind, how it is reported.

A coroutine test runs on asyncio's own loop; on that and on uvloop with the fixture `each_loop`; in virtual time with
`virtual_time`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator, Mapping
from typing import Any

import pytest

from tests.support.loop.leaks import nothing_left
from tests.support.loop.loops import each_loop as each_loop
from tests.support.loop.loops import new_loop
from tests.support.loop.loops import virtual_time as virtual_time


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Let each test run on the loop that a fixture of `tests/support/loop/loops.py` chose for it."""
    return {"chosen": new_loop}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Choose the loop of a coroutine test before any other fixture, and see what there is before those of the test."""
    for item in items:
        if isinstance(item, pytest.Function) and asyncio.iscoroutinefunction(item.function):
            names = [name for name in item.fixturenames if name not in ("each_loop", "virtual_time")]
            shared = sum(_is_shared(item, name) for name in names)  # they stand before those of the test alone
            loop = [name for name in ("each_loop", "virtual_time") if name in item.fixturenames]
            item.fixturenames[:] = [*loop, *names[:shared], "leaves_nothing", *names[shared:]]


def _is_shared(item: pytest.Function, name: str) -> bool:
    found = item._fixtureinfo.name2fixturedefs.get(name, ())
    return any(each.scope != "function" for each in found[-1:])


@pytest.fixture
async def leaves_nothing() -> AsyncIterator[None]:
    """Fail a test that leaves a task, a socket or another descriptor behind. Every coroutine test has it."""
    async with nothing_left():
        yield


@pytest.fixture
async def loop_errors() -> AsyncIterator[None]:
    """Fail a test in which a callback of the loop failed: asyncio merely logs that."""
    failures: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: failures.append(context))
    yield
    for failure in failures:
        raise AssertionError(failure["message"]) from failure.get("exception")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Make what a test printed or logged fit for the way to the process that reports: it takes no lone surrogates, of
    which addresses and file names that are no UTF-8 consist.
    """
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report
