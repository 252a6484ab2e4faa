"""What visitors of every kind have in common: a place to go, moments at which to leave, one socket."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Protocol

from bench.stress.ledger import Failed
from bench.stress.origins.server import reset, write
from bench.stress.plan import EITHER, FAILING, Plan

#: Bytes that a visitor reads or writes at once.
PIECE = 65_536


class Left(Exception):
    """The visitor has reached the moment at which it leaves."""


@dataclass(slots=True)
class Places:
    """Where visitors go. The same after a restart of the edge."""

    http: tuple[str, int]
    tcp: tuple[str, int]
    private: tuple[str, int]


class Visitor(Protocol):
    """One visitor, who comes again and again."""

    async def visit(self, plan: Plan) -> None:
        """Carry the plan out.

        Raises:
            Left: the moment of leaving came.
            Failed: the answer did not come, and that was said.
            OSError, EOFError: the connection broke off.
            Wrong: what came is not the answer.
        """

    async def leave(self, manner: str) -> None:
        """Leave now."""

    async def close(self) -> None:
        """Give up everything."""


def reached(plan: Plan, moment: str) -> None:
    """Leave if this is the moment."""
    if plan.leave is not None and plan.leave.moment == moment:
        raise Left


def expect_failure(plan: Plan, what: str) -> None:
    """Take a failure that says so: what a failing origin must lead to.

    Raises:
        Failed: this origin does not fail.
    """
    if plan.behaviour not in FAILING | EITHER:
        raise Failed(what)


class Line:
    """A visitor's socket, with asyncio's streams around it."""

    def __init__(self) -> None:
        self.reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is one."""
        return self._writer is not None

    async def open(self, address: tuple[str, int]) -> None:
        """Connect."""
        self.reader, self._writer = await asyncio.open_connection(*address)

    def write(self, data: bytes) -> None:
        """Write something small.

        Raises:
            Failed: there is no connection.
            ConnectionResetError: it is gone.
        """
        write(self._there(), data)

    def write_eof(self) -> None:
        """End the sending side. Raises as `write`, and OSError where the peer is gone."""
        self._there().write_eof()

    async def send(self, data: bytes) -> None:
        """Write in pieces, no faster than is taken. Raises as `write`."""
        for start in range(0, len(data), PIECE):
            self.write(data[start : start + PIECE])
            await self._there().drain()

    def _there(self) -> asyncio.StreamWriter:
        if self._writer is None:
            raise Failed("there is no connection")
        return self._writer

    async def leave(self, manner: str) -> None:
        """Close, or reset."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        if manner == "reset":
            reset(writer)
        else:
            writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
