"""Who listens to the log beside its handlers: sessions of the management service. Where nobody does, a line costs one
comparison more.

A tap is given every line from its level on, also what the log itself leaves out, and only those of its own connector
and of the process: several connectors may live in one, of different people.
"""

from __future__ import annotations

import contextlib
import functools
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping

#: Above every level.
NOBODY = 1000

_P = ParamSpec("_P")
_T = TypeVar("_T")


class _Connector(Protocol):
    connector_id: UUID


_C = TypeVar("_C", bound=_Connector)
_current: ContextVar[UUID | None] = ContextVar("pyconnector_connector", default=None)


class Tap(Protocol):
    """Takes lines. Called from whichever thread logs."""

    connector_id: UUID

    @property
    def level(self) -> int:
        """The least level that is wanted."""

    def take(self, level: int, message: str, values: Mapping[str, object], kind: str) -> None:
        """Take one line; must neither block nor raise."""


class Taps:
    """All of this process."""

    def __init__(self) -> None:
        self._all: tuple[Tap, ...] = ()
        self.level = NOBODY
        "The least level that anybody wants."

    def add(self, tap: Tap) -> None:
        """Give `tap` every line from now on."""
        self._set((*self._all, tap))

    def remove(self, tap: Tap) -> None:
        """Give it none any more. Idempotent."""
        self._set(tuple(each for each in self._all if each is not tap))

    def hand(self, level: int, message: str, values: Mapping[str, object], kind: str) -> None:
        """Give a line to everybody who wants it."""
        current = _current.get()
        for tap in self._all:
            if tap.level <= level and current in (None, tap.connector_id):
                tap.take(level, message, values, kind)

    def _set(self, taps: tuple[Tap, ...]) -> None:
        self._all = taps
        self.level = min((tap.level for tap in taps), default=NOBODY)


@contextlib.contextmanager
def logging_as(connector_id: UUID) -> Iterator[None]:
    """Say whose lines those are that are logged within the block, and in the tasks that it starts."""
    token = _current.set(connector_id)
    try:
        yield
    finally:
        _current.reset(token)


def as_itself(
    method: Callable[Concatenate[_C, _P], Awaitable[_T]],
) -> Callable[Concatenate[_C, _P], Coroutine[Any, Any, _T]]:
    """Have a method of a connector log as that connector."""

    @functools.wraps(method)
    async def logging_method(self: _C, /, *args: _P.args, **given: _P.kwargs) -> _T:
        with logging_as(self.connector_id):
            return await method(self, *args, **given)

    return logging_method


#: The ones there are.
TAPS = Taps()
