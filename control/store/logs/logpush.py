"""Jobs of Logpush: made, changed, deleted; edges do them."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from pyconnector.control.store.errors import Invalid, NotFound
from pyconnector.control.store.logs.tables import LogpushJob
from pyconnector.control.store.work import Entry
from pyconnector.logpush.destinations import S3Destination, parse_destination, redacted
from pyconnector.logpush.jobs import JobError, parse_job

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from pyconnector.control.store.work import Work
    from pyconnector.logpush.destinations import Destination

NO_JOB = 1002
BAD_JOB = 1004
#: Jobs of an account.
MAX_JOBS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFields:
    """What is to be set; None leaves a field as it is, or at its default. `settings` are set one by one."""

    name: str | None = None
    dataset: str | None = None
    enabled: bool | None = None
    destination_conf: str | None = field(default=None, repr=False)
    settings: dict[str, Any] = field(default_factory=dict)


async def find(session: AsyncSession, account_id: str, job_id: int) -> LogpushJob:
    """Return a job. Cancel changes nothing.

    Raises:
        NotFound: there is none.
    """
    row = await session.get(LogpushJob, job_id)
    if row is None or row.account_id != account_id:
        raise NotFound("There is no Logpush job of that id.", NO_JOB)
    return row


async def listed(session: AsyncSession, account_id: str, dataset: str | None = None) -> list[LogpushJob]:
    """Return all jobs, or those of a data set, the oldest first. Cancel changes nothing."""
    statement = select(LogpushJob).where(LogpushJob.account_id == account_id).order_by(LogpushJob.id)
    if dataset is not None:
        statement = statement.where(LogpushJob.dataset == dataset)
    return list((await session.execute(statement)).scalars())


async def create(work: Work, fields: JobFields) -> LogpushJob:
    """Make a job. Cancel undoes it.

    Raises:
        Invalid: it cannot be done, or there are too many.
    """
    if len(await listed(work.session, work.account_id)) >= MAX_JOBS:
        raise Invalid(f"An account has at most {MAX_JOBS} Logpush jobs.", BAD_JOB)
    row = LogpushJob(
        account_id=work.account_id, name="", dataset="", enabled=False, destination_conf="", settings={},
        created_at=work.now,
    )  # fmt: skip
    _set(row, fields)
    work.session.add(row)
    row.updated_at = work.now
    await work.session.flush()
    _changed(work, row, "create")
    return row


async def edit(work: Work, job_id: int, fields: JobFields) -> LogpushJob:
    """Change what is given. Cancel undoes it.

    Raises:
        NotFound: there is none.
        Invalid: it could not be done then.
    """
    row = await find(work.session, work.account_id, job_id)
    if fields.dataset is not None and fields.dataset != row.dataset:
        raise Invalid("The data set of a job stays: make another job.", BAD_JOB)
    _set(row, fields)
    row.updated_at = work.now
    _changed(work, row, "update")
    return row


async def remove(work: Work, job_id: int) -> LogpushJob:
    """Delete a job. Cancel undoes it.

    Raises:
        NotFound: there is none.
    """
    row = await find(work.session, work.account_id, job_id)
    await work.session.delete(row)
    work.publish("logpush_job", str(row.id), None)
    work.audit(
        Entry(action="delete", resource_type="logpush_job", resource_id=str(row.id),
              description=f"Deleted Logpush job {row.name or row.id}")
    )  # fmt: skip
    return row


def edge_value(row: LogpushJob) -> dict[str, Any]:
    """Return what edges need to know."""
    return {
        "name": row.name, "dataset": row.dataset, "enabled": row.enabled, "destination_conf": row.destination_conf,
        **row.settings,
    }  # fmt: skip


def needs_challenge(destination: Destination) -> bool:
    """Return whether who names a destination has to prove that it is theirs: a bucket without keys, which edges
    reach by a right of their own."""
    return isinstance(destination, S3Destination) and not destination.access_key_id


def challenge_of(destination: Destination, key: str) -> str:
    """Return what proves that somebody can read at a destination; `key` is a secret of the installation."""
    digest = hmac.digest(key.encode(), b"logpush ownership " + destination.shown.encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).decode("ascii").rstrip("=")


def is_challenge(destination: Destination, key: str, text: str) -> bool:
    """Return whether `text` is it, in a time that does not depend on it."""
    return hmac.compare_digest(challenge_of(destination, key).encode(), text.strip().encode("utf-8", "replace"))


def kept_secrets(row: LogpushJob, destination_conf: str) -> str:
    """Return the destination that is meant: what was shown without its secrets is what it was shown of."""
    return row.destination_conf if destination_conf == redacted(row.destination_conf) else destination_conf


def _set(row: LogpushJob, fields: JobFields) -> None:
    if fields.name is not None:
        row.name = fields.name
    if fields.dataset is not None:
        row.dataset = fields.dataset
    if fields.enabled is not None:
        row.enabled = fields.enabled
    if fields.destination_conf is not None:
        row.destination_conf = fields.destination_conf
    if fields.settings:
        row.settings = {name: value for name, value in (row.settings | fields.settings).items() if value is not None}
    try:
        parse_job("", edge_value(row))
    except JobError as error:
        raise Invalid(str(error), BAD_JOB) from None


def _changed(work: Work, row: LogpushJob, action: str) -> None:
    work.publish("logpush_job", str(row.id), edge_value(row))
    told = edge_value(row) | {"id": row.id, "destination_conf": redacted(row.destination_conf)}
    work.audit(
        Entry(
            action=action, resource_type="logpush_job", resource_id=str(row.id),
            description=f"{action.capitalize()}d Logpush job {row.name or row.id} to "
            f"{parse_destination(row.destination_conf).shown}",
            response=told,
        )
    )  # fmt: skip
