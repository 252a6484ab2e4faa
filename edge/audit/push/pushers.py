"""All pushers of an edge: those that it was started with, and those of jobs that the control plane tells."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pyconnector.edge.audit.push import cursor as cursors
from pyconnector.edge.audit.push.pusher import Pusher, Status
from pyconnector.logpush.destinations import parse_destination
from pyconnector.logpush.jobs import Job
from pyconnector.logpush.senders.base import SenderMissing, make_sender

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pyconnector.edge.audit.push.spool import Spool
    from pyconnector.logpush.destinations import Destination
    from pyconnector.logpush.senders.base import Sender

#: Seconds at the end in which what is in the log may still go; the rest goes after the next start.
LAST_SECONDS = 2.0

_log = logging.getLogger("pyconnector.edge.audit")


class Pushers:
    """Push from `start` to `close`."""

    def __init__(self, spool: Spool, make: Callable[[Destination], Sender] = make_sender) -> None:
        self._spool = spool
        self._make = make
        self._pushers: dict[str, Pusher] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._impossible: dict[str, Status] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._open = False
        self._forgotten: set[str] = set()
        self._early: dict[str, Job] = {}
        # One thread of its own: a slow disk or a large batch must not hold up what else threads are for.
        self._thread = ThreadPoolExecutor(1, "audit push")

    def __repr__(self) -> str:
        return f"<Pushers {list(self._pushers.values())}>"

    def start(self, jobs: Iterable[Job]) -> None:
        """Begin with `jobs`, each where it was, or behind what is in the log now.

        Raises:
            SenderMissing: a library for one of them is not installed.
        """
        self._open = True
        for job in jobs:
            self._begin(job, self._make(job.destination))
        early, self._early = self._early, {}
        for job in early.values():
            self.put(job)

    def put(self, job: Job) -> None:
        """Do a job of the control plane, or do it as it is now. What cannot be done is in `status`."""
        if not self._open:
            self._early[job.id] = job
            return
        self._end(job.id)
        try:
            sender = self._make(job.destination)
        except SenderMissing as error:
            _log.error("Logpush job %s cannot be done here: %s", job.id, error)
            self._impossible[job.id] = Status(error_message=str(error))
            return
        self._begin(job, sender)

    def drop(self, job_id: str) -> None:
        """Do a job no longer, and forget where it was. Idempotent."""
        self._early.pop(job_id, None)
        self._impossible.pop(job_id, None)
        if job_id in self._pushers:
            self._end(job_id)
            self._spool.retention.cursors.pop(job_id, None)
            # In the thread that keeps places, behind the last one that is being kept.
            self._forgotten.add(job_id)
            self._thread.submit(cursors.forget, self._spool.directory, job_id)
            self._spool.prune_soon()

    def note(self, count: int) -> None:
        """So many records more are in the log."""
        for pusher in self._pushers.values():
            pusher.note(count)

    def status(self) -> dict[str, dict[str, Any]]:
        """Return how each job is doing, by its id."""
        told = self._impossible | {name: pusher.status for name, pusher in self._pushers.items()}
        return {name: status.as_json() for name, status in told.items()}

    def describe(self) -> list[dict[str, Any]]:
        """Return how each is doing and where it pushes to, for the debug API; nothing secret."""
        return [
            {"id": name, "destination": pusher.job.destination.shown, **pusher.status.as_json()}
            for name, pusher in self._pushers.items()
        ]

    async def close(self) -> None:
        """Send what is in the log if that is quick, and stop. Idempotent. Cancel leaves tasks running."""
        self._open = False
        for pusher in self._pushers.values():
            pusher.hurry()
        if self._tasks:
            try:
                async with asyncio.timeout(LAST_SECONDS):
                    for pusher in tuple(self._pushers.values()):
                        await pusher.settled.wait()
            except TimeoutError:
                pass
        for name in tuple(self._pushers):
            self._end(name)
        if self._ending:
            await asyncio.wait(set(self._ending))
        self._thread.shutdown(wait=False)

    def _begin(self, job: Job, sender: Sender) -> None:
        spool = self._spool
        place = None if job.id in self._forgotten else cursors.load(spool.directory, job.id)
        self._forgotten.discard(job.id)
        if place is None:
            place = spool.end
            cursors.save(spool.directory, job.id, place)
        # One that is ahead of the log is of another one.
        spool.retention.cursors[job.id] = min(place, spool.end)
        # Attempts need no secret randomness.
        pusher = Pusher(job, sender, spool, self._thread, random.Random().random)
        self._pushers[job.id] = pusher
        task = asyncio.get_running_loop().create_task(pusher.run(), name=f"audit push {job.id}")
        task.add_done_callback(lambda ended: _tell(ended, pusher))
        self._tasks[job.id] = task
        _log.info("Audit records are pushed to %s", job.destination.shown)

    def _end(self, job_id: str) -> None:
        pusher, task = self._pushers.pop(job_id, None), self._tasks.pop(job_id, None)
        self._impossible.pop(job_id, None)
        if pusher is None or task is None:
            return
        task.cancel()
        ending = asyncio.get_running_loop().create_task(_ended(task, pusher), name=f"audit push end {job_id}")
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)


def _tell(task: asyncio.Task[None], pusher: Pusher) -> None:
    if task.cancelled() or (error := task.exception()) is None:
        return
    _log.error("Pushing to %s failed", pusher.job.destination.shown, exc_info=error)
    pusher.status = replace(pusher.status, error_message="it failed; the log of the edge says why")
    pusher.settled.set()


async def _ended(task: asyncio.Task[None], pusher: Pusher) -> None:
    await asyncio.wait([task])
    await pusher.sender.close()


def own_job(url: str, number: int) -> Job:
    """Return the job of a destination that an edge is started with, under a name that it has after a restart too.

    Raises:
        DestinationError: it is none.
    """
    destination = parse_destination(url)
    digest = hashlib.sha256(destination.shown.encode()).hexdigest()[:16]
    return Job(id=f"own-{digest}-{number}", destination=destination)
