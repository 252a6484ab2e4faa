"""Jobs of Logpush as the control plane tells them: each is handed to the pushers, if this edge has any."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from pyconnector.logpush.jobs import JobError, parse_job

if TYPE_CHECKING:
    from pyconnector.edge.audit.push.pushers import Pushers

_log = logging.getLogger("pyconnector.edge.audit")


class LogpushJobs:
    """Told of every job, and of every change of one."""

    def __init__(self, pushers: Pushers | None = None) -> None:
        self._pushers = pushers
        self._impossible: dict[str, str] = {}

    def put(self, job_id: str, value: dict[str, Any]) -> None:
        """Do a job, or do it as it is now."""
        self._impossible.pop(job_id, None)
        if not value["enabled"]:
            self.drop(job_id)
            return
        try:
            job = parse_job(job_id, value)
        except JobError as error:
            # Of a control plane of a later version, say.
            self._fail(job_id, str(error))
            return
        if self._pushers is None:
            self._fail(job_id, "this edge has no audit log to push from: start it with --audit-dir")
            return
        self._pushers.put(job)

    def drop(self, job_id: str) -> None:
        """Do a job no longer. Idempotent."""
        self._impossible.pop(job_id, None)
        if self._pushers is not None:
            self._pushers.drop(job_id)

    def status(self) -> dict[str, dict[str, Any]]:
        """Return how each job is doing, by its id."""
        failed = {
            job_id: {"sent": 0, "lost": 0, "last_complete": "", "last_error": "", "error_message": sentence}
            for job_id, sentence in self._impossible.items()
        }
        told = {} if self._pushers is None else self._pushers.status()
        return failed | {job_id: status for job_id, status in told.items() if job_id.isdigit()}

    def _fail(self, job_id: str, sentence: str) -> None:
        if self._pushers is not None:
            self._pushers.drop(job_id)
        self._impossible[job_id] = sentence
        _log.error("Logpush job %s is not done here: %s", job_id, sentence)
