"""What came of every visit, what excuses it, and what nothing excuses: the findings."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bench.stress.body import Wrong

if TYPE_CHECKING:
    from bench.stress.plan import Plan

#: Different findings that are kept word by word; of the rest only the number is known.
MAX_FINDINGS = 60


#: What the product logs without a traceback and must not have to.
DEFECTS = ("the QUIC core failed",)


class Failed(Exception):
    """An exchange that ended without its answer, and said so. A disturbance excuses it."""


class Ledger:
    """Keeps count. Visits and disturbances report here; `findings` is empty where all went well."""

    def __init__(self) -> None:
        self.outcomes: Counter[tuple[str, str]] = Counter()
        "By kind of visitor: right, left, excused, found."
        self.findings: Counter[str] = Counter()
        self.found = 0
        self.disturbances: Counter[str] = Counter()
        self.log_lines: Counter[str] = Counter()
        self._cuts: list[tuple[float, float]] = []
        self._open: dict[object, float] = {}
        self._arrived: set[int] = set()

    @property
    def visits(self) -> int:
        """Visits that ended, however they did."""
        return self.outcomes.total()

    def finding(self, text: str) -> None:
        """Record what must not happen."""
        self.found += 1
        if text in self.findings or len(self.findings) < MAX_FINDINGS:
            self.findings[text] += 1

    def ended(
        self,
        plan: Plan,
        began: float,
        failure: BaseException | None,
        *,
        left: bool,
        excused_from: float | None = None,
    ) -> None:
        """Record how a visit ended: right without `failure`, or `left` before its end.

        A disturbance excuses a failure if it was not over at `excused_from`; by default, when the visit began.
        """
        since = began if excused_from is None else excused_from
        self.outcomes[plan.kind, self._judge(plan, began, failure, left=left, since=since)] += 1

    def _judge(self, plan: Plan, began: float, failure: BaseException | None, *, left: bool, since: float) -> str:
        seconds = asyncio.get_running_loop().time() - began
        if isinstance(failure, Wrong):
            self.finding(f"wrong: {failure} ({plan})")
            return "found"
        if isinstance(failure, TimeoutError):
            self.finding(f"hung: no end after {seconds:.1f} s ({plan})")
            return "found"
        if left:
            return "left"
        if failure is None:
            return "right"
        if self._excuses(since):
            return "excused"
        self.finding(f"failed: {type(failure).__name__}: {failure} after {seconds:.3f} s ({plan})")
        return "found"

    # -- disturbances ----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def disturbance(self, name: str, *, cuts: bool) -> Iterator[None]:
        """Count one; with `cuts` it excuses failures of visits that were under way during the block."""
        loop = asyncio.get_running_loop()
        self.disturbances[name] += 1
        token, began = object(), loop.time()
        if cuts:
            self._open[token] = began
        try:
            yield
        finally:
            if cuts:
                del self._open[token]
                self._cuts.append((began, loop.time()))
                del self._cuts[:-1000]

    def _excuses(self, since: float) -> bool:
        return bool(self._open) or any(end >= since for _, end in self._cuts)

    # -- what origins see ------------------------------------------------------------------------------------------

    def arrived(self, number: int) -> None:
        """A request with a body arrived whole; twice is a finding."""
        if number in self._arrived:
            self.finding(f"doubled: request {number} arrived twice")
        self._arrived.add(number)


class Listener(logging.Handler):
    """Counts log lines by sentence; one that tells of a defect, or has a traceback, is a finding."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(logging.WARNING)
        self._ledger = ledger

    def emit(self, record: logging.LogRecord) -> None:
        """Take one record."""
        self._ledger.log_lines[f"{record.levelname} {record.msg}"[:120]] += 1
        if any(defect in record.getMessage() for defect in DEFECTS):
            self._ledger.finding(f"in the log: {record.getMessage()}")
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            self._ledger.finding(f"traceback in the log: {record.getMessage()}: {type(error).__name__}: {error}")

    def from_loop(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Take what nobody caught."""
        error = context.get("exception")
        self._ledger.finding(f"nobody caught: {context.get('message')}: {type(error).__name__}: {error}")
