"""The audit log of a running edge: records wait here for the thread that writes them, and how full it may get.

When the disk takes no more the log says so loudly, and either requests are refused or records are lost and counted.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pyconnector.edge.audit.files import DEFAULT_FILE_SIZE, AuditError, AuditFiles
from pyconnector.edge.audit.push.cursor import Cursor
from pyconnector.edge.audit.push.pushers import Pushers, own_job
from pyconnector.edge.audit.retention import SPOOL_LIMIT, Retention
from pyconnector.logpush.destinations import DestinationError
from pyconnector.logpush.senders.base import SenderMissing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pyconnector.edge.audit.reported import Reported

#: Records that wait for a disk; some 80 MB.
MAX_WAITING = 50_000
#: Records that are written at once.
AT_ONCE = 2_000
#: Seconds in which records come together, and between attempts while nothing can be written.
TOGETHER = 0.05
AGAIN = 1.0

_log = logging.getLogger("pyconnector.edge.audit")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSettings:
    """Where records go."""

    directory: Path
    refuse_when_full: bool = True
    "Serve nobody while nothing can be recorded; else go on, and count what is lost."
    file_size: int = DEFAULT_FILE_SIZE
    keep: int = 0
    "Files that are kept; 0 for all. What is not pushed yet is kept beside them."
    spool_limit: int = SPOOL_LIMIT
    "Bytes of files beyond those to keep that may wait to be pushed."
    push: tuple[str, ...] = field(default=(), repr=False)
    "Where records go too, from the edge's first start with each on: URLs as in docs/access-edge.md."


class AuditLog:
    """Takes records from `start` to `close`."""

    def __init__(
        self, settings: AuditSettings, open_files: Callable[[AuditSettings, Retention], AuditFiles] | None = None
    ) -> None:
        self._settings = settings
        self.directory = settings.directory
        self.retention = Retention(settings.keep, settings.spool_limit, drop=not settings.refuse_when_full)
        self.pushers = Pushers(self)
        self.reported: Reported | None = None
        "Told of each record too."
        self.end = Cursor(0, 0)
        "Behind what is on disk for good; see `Spool`."
        self._pruning: asyncio.Task[None] | None = None
        self._prune_again = False
        self._open_files = open_files or _open
        self._waiting: list[dict[str, Any]] = []
        self._lost = 0
        self._lost_ever = self._records = 0
        self._failing = False
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._closing = False
        # One thread of its own: a disk that hangs must not hold up what else threads are for.
        self._thread = ThreadPoolExecutor(1, "audit")

    def __repr__(self) -> str:
        return f"<AuditLog {self._settings.directory} waiting={len(self._waiting)} lost={self._lost}>"

    @property
    def refuses(self) -> bool:
        """Whether nobody is to be served now, because it could not be recorded."""
        if not self._settings.refuse_when_full:
            return False
        return self._failing or self.retention.full or len(self._waiting) >= MAX_WAITING

    def describe(self) -> dict[str, object]:
        """Return how it is doing, for the debug API; nothing secret."""
        return {
            "records": self._records, "waiting": len(self._waiting), "lost": self._lost_ever + self._lost,
            "refusing": self.refuses, "push": self.pushers.describe(),
        }  # fmt: skip

    @property
    def waiting(self) -> int:
        """Records that are not on disk yet."""
        return len(self._waiting)

    @property
    def lost(self) -> int:
        """Records that nothing could be done for, and that are not yet told of in the log."""
        return self._lost

    async def start(self) -> None:
        """Open the files, and write from now on. Cancel leaves it to `close`.

        Raises:
            AuditError: they cannot be used.
        """
        loop = asyncio.get_running_loop()
        self._files = await loop.run_in_executor(self._thread, self._open_files, self._settings, self.retention)
        self.end = self._files.end
        try:
            self.pushers.start(own_job(url, number) for number, url in enumerate(self._settings.push))
        except (SenderMissing, DestinationError) as error:
            raise AuditError(str(error)) from error
        except OSError as error:
            raise AuditError(f"{self.directory} cannot be used: {error.strerror or error}") from error
        if self._settings.refuse_when_full:
            _log.info("Requests are recorded in %s; should that fail, nobody is served meanwhile", self.directory)
        else:
            _log.warning("Requests are served even while they cannot be recorded (--audit-when-full go-on)")
        self._task = loop.create_task(self._run(), name="edge audit")

    def put(self, record: dict[str, Any], *, unserved: bool = False) -> None:
        """Take a record; it is on disk a moment later. `unserved`: it was refused because nothing can be recorded."""
        if self.reported is not None:
            self.reported.record(record)
        # Whom a full spool refuses must not fill it further: that they came is counted.
        if len(self._waiting) >= MAX_WAITING or (unserved and self.retention.full):
            self._lost += 1
            return
        self._waiting.append(record)
        if len(self._waiting) == 1:
            self._wake.set()

    async def close(self) -> None:
        """Write what waits, once more where it fails, and close. Idempotent. Cancel leaves some unwritten."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await asyncio.wait([self._task])
            self._task = None
            if self._waiting:
                _log.error("%d audit records could not be written and are lost", len(self._waiting) + self._lost)
            await self.pushers.close()
            if self._pruning is not None:
                await asyncio.wait([self._pruning])
            await asyncio.get_running_loop().run_in_executor(self._thread, self._files.close)
        elif hasattr(self, "_files"):
            await self.pushers.close()
            self._files.close()
        self._thread.shutdown(wait=False)

    def prune_soon(self) -> None:
        """See `Spool.prune_soon`."""
        # What is under way may have looked already: then it looks once more.
        self._prune_again = True
        if self._pruning is None or self._pruning.done():
            self._pruning = asyncio.get_running_loop().create_task(self._prune(), name="edge audit retention")

    async def _prune(self) -> None:
        while self._prune_again:
            self._prune_again = False
            before = self.retention.full
            try:
                await asyncio.get_running_loop().run_in_executor(self._thread, self.retention.prune, self.directory)
            except OSError as error:
                _log.error("Old files of the audit log cannot be deleted: %s", error.strerror or error)
            self._say_full(before)

    def _say_full(self, before: bool) -> None:
        if self.retention.full and not before:
            _log.error(
                "More than %d bytes of audit records wait to be pushed: nobody is served until they are taken",
                self._settings.spool_limit,
            )
        elif before and not self.retention.full:
            _log.warning("Audit records were taken: requests are served again")

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            if not self._closing:
                await asyncio.sleep(TOGETHER)
            self._wake.clear()
            while self._waiting:
                if not await self._write_some():
                    if self._closing:
                        return
                    await self._pause()
            if self._closing:
                return

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(AGAIN):
                self._wake.clear()
                while not self._closing:
                    await self._wake.wait()
                    self._wake.clear()
        except TimeoutError:
            pass

    async def _write_some(self) -> bool:
        lost, records = self._lost, self._waiting[:AT_ONCE]
        full = self.retention.full
        if lost:
            records = [{"Datetime": records[0]["Datetime"], "AuditRecordsLost": lost}, *records]
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._files.write, records)
        except OSError as error:
            if not self._failing:
                what = "nobody is served until it can" if self._settings.refuse_when_full else "records may be lost"
                _log.error("The audit log cannot be written (%s): %s", error.strerror or error, what)
            self._failing = True
            return False
        self.end = self._files.end
        self.pushers.note(len(records))
        self._say_full(full)
        del self._waiting[: len(records) - bool(lost)]
        self._lost -= lost
        self._lost_ever += lost
        self._records += len(records) - bool(lost)
        if self._failing:
            self._failing = False
            _log.warning("The audit log is written again; %d records were lost", lost)
        return True


def _open(settings: AuditSettings, retention: Retention) -> AuditFiles:
    return AuditFiles(settings.directory, file_size=settings.file_size, retention=retention)
