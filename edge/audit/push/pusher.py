"""Does one job: reads a batch, sends it until the destination has it, and goes on behind it."""

from __future__ import annotations

import asyncio
import datetime
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pyconnector.edge.audit.push import cursor as cursors
from pyconnector.edge.audit.push.batches import make_batch
from pyconnector.edge.audit.push.reader import Read, read_lines
from pyconnector.logpush.senders.base import Batch, SendFailed

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import ThreadPoolExecutor

    from pyconnector.edge.audit.push.cursor import Cursor
    from pyconnector.edge.audit.push.spool import Spool
    from pyconnector.logpush.jobs import Job
    from pyconnector.logpush.senders.base import Sender

#: Seconds to wait after the first failure of a row, and at most.
FIRST_PAUSE, LAST_PAUSE = 1.0, 60.0
#: Seconds between two lines of the log that say that a destination is still away.
SAY_AGAIN = 600.0

_log = logging.getLogger("pyconnector.edge.audit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How a job is doing. Moments are RFC 3339, empty where there is none."""

    sent: int = 0
    "Records that the destination has."
    lost: int = 0
    "Records that it will never get."
    last_complete: str = ""
    last_error: str = ""
    error_message: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return it as the control plane is told."""
        return {
            "sent": self.sent, "lost": self.lost, "last_complete": self.last_complete, "last_error": self.last_error,
            "error_message": self.error_message,
        }  # fmt: skip


class Pusher:
    """Works from `run` until that is cancelled; what it has sent is never sent again but for its last batch."""

    def __init__(
        self, job: Job, sender: Sender, spool: Spool, thread: ThreadPoolExecutor, jitter: Callable[[], float]
    ) -> None:
        """`jitter` returns a factor from 0 to 1."""
        self.job = job
        self.sender = sender
        self.status = Status()
        self._spool = spool
        self._thread = thread
        self._jitter = jitter
        self._waiting = 0
        self._wake = asyncio.Event()
        self._hurry = False
        self._records = job.records
        self._said = 0.0
        self.settled = asyncio.Event()
        "Set while everything is sent, or cannot be."

    def __repr__(self) -> str:
        return f"<Pusher {self.job!r} sent={self.status.sent} lost={self.status.lost}>"

    @property
    def done(self) -> bool:
        """Whether everything that is in the log was sent."""
        cursor = self._spool.retention.cursors.get(self.job.id)
        return cursor is not None and cursor >= self._spool.end

    def note(self, count: int) -> None:
        """So many records more are in the log."""
        self._waiting += count
        self.settled.clear()
        self._wake.set()

    def hurry(self) -> None:
        """Wait for no more records to come together."""
        self._hurry = True
        self._wake.set()

    async def run(self) -> None:
        """Push until cancelled."""
        while True:
            try:
                await self._wait_for_records()
                await self._push_next()
            except OSError as error:
                await self.failed(f"its records cannot be read: {error.strerror or error}", 0, 0.0)

    async def _wait_for_records(self) -> None:
        while self.done:
            self.settled.set()
            self._wake.clear()
            await self._wake.wait()
        try:
            async with asyncio.timeout(self.job.seconds):
                while self._has_time():
                    self._wake.clear()
                    await self._wake.wait()
        except TimeoutError:
            pass

    def _has_time(self) -> bool:
        return not self._hurry and self._waiting < self._records

    async def _push_next(self) -> None:
        spool, name = self._spool, self.job.id
        more = True
        while more:
            read = await self._in_thread(self._read)
            self._waiting = max(0, self._waiting - len(read.lines))
            lost = spool.retention.take_lost(name)
            if lost:
                self._count_lost(lost)
            batch = await self._in_thread(lambda: make_batch(self.job, read.lines, lost))  # noqa: B023 - used at once
            if batch is not None and not await self._send(batch):
                continue  # a smaller one, from the same place
            await self._go_on(read.cursor)
            more = read.more

    def _read(self) -> Read:
        spool = self._spool
        return read_lines(
            spool.directory, spool.retention.cursors[self.job.id], spool.end, self._records, self.job.bytes
        )

    async def _go_on(self, cursor: Cursor) -> None:
        spool, before = self._spool, self._spool.retention.cursors[self.job.id]
        spool.retention.cursors[self.job.id] = cursor
        await self._in_thread(lambda: cursors.save(spool.directory, self.job.id, cursor))
        if cursor.number != before.number:
            spool.prune_soon()

    async def _send(self, batch: Batch) -> bool:
        """Send until it is there; False: it is too large, and the next one is to be smaller."""
        attempt = 0
        while True:
            try:
                await self.sender.send(batch)
            except SendFailed as error:
                if error.too_large:
                    if batch.count > 1 and self._records > 1:
                        self._records = max(1, min(self._records, batch.count) // 2)
                        return False
                    _log.error("A record is too large for %s, and lost there", self.job.destination.shown)
                    self._count_lost(batch.count)
                    return True
                await self.failed(str(error), attempt, error.retry_after)
                attempt += 1
                continue
            self._succeeded(batch)
            return True

    async def failed(self, sentence: str, attempt: int, wait: float) -> None:
        """Tell of a failure, and wait until it is worth trying again. Cancel ends the wait."""
        self.status = replace(self.status, last_error=_now(), error_message=sentence)
        self.settled.set()
        now = asyncio.get_running_loop().time()
        if not attempt or now - self._said >= SAY_AGAIN:
            self._said = now
            _log.error(
                "Audit records are not taken by %s (%s); they wait on disk, and it is tried again",
                self.job.destination.shown, sentence,
            )  # fmt: skip
        pause = min(LAST_PAUSE, FIRST_PAUSE * 2 ** min(attempt, 10))
        await asyncio.sleep(max(wait, pause * (0.5 + 0.5 * self._jitter())))

    def _succeeded(self, batch: Batch) -> None:
        if self.status.error_message:
            _log.warning("Audit records are taken by %s again", self.job.destination.shown)
        self.status = replace(
            self.status, sent=self.status.sent + batch.count, last_complete=_now(), last_error="", error_message=""
        )
        self._records = min(self.job.records, self._records * 2)

    def _count_lost(self, count: int) -> None:
        self.status = replace(self.status, lost=self.status.lost + count)
        _log.error("%d audit records never reached %s", count, self.job.destination.shown)

    async def _in_thread(self, work: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
