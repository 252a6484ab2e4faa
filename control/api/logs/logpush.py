"""Logpush: `/accounts/{a}/logpush`. Created jobs are done by every edge."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path
from pydantic import ConfigDict, Field
from starlette.responses import JSONResponse

from pyconnector.control.api.context import Context, Ctx, needs
from pyconnector.control.api.envelope import success
from pyconnector.control.api.fields import Body, Text
from pyconnector.control.api.logs.challenge import TEST_NAME, TEST_TEXT, destination_of, write
from pyconnector.control.store.errors import Invalid, NotFound
from pyconnector.control.store.logs import edge_logs, logpush
from pyconnector.control.store.logs.logpush import BAD_JOB, NO_JOB, JobFields
from pyconnector.control.store.logs.tables import LogpushJob
from pyconnector.control.store.work import Work
from pyconnector.logpush.datasets import DATASETS
from pyconnector.logpush.destinations import MAX_LENGTH, redacted
from pyconnector.logpush.filters import MAX_LENGTH as MAX_FILTER

READ, EDIT = [needs("logs:read")], [needs("logs:edit")]
router = APIRouter(tags=["Logpush"])
_PATH = "/accounts/{account_id}/logpush"
Conf = Annotated[str, Field(max_length=MAX_LENGTH, min_length=1)]
Filter = Annotated[str, Field(max_length=MAX_FILTER)]
#: What of a job is kept as it came.
_SETTINGS = (
    "filter", "output_options", "max_upload_bytes", "max_upload_interval_seconds", "max_upload_records", "kind",
    "frequency",
)  # fmt: skip
JobId = Annotated[int, Path(ge=1, lt=2**31)]


class OutputOptions(Body):
    """The form of what is pushed; what is in it is judged by `pyconnector.logpush`."""

    model_config = ConfigDict(strict=True, extra="allow")


class _Job(Body):
    name: Annotated[str, Field(max_length=255)] | None = None
    enabled: bool | None = None
    filter: Filter | None = None
    output_options: OutputOptions | None = None
    max_upload_bytes: int | None = None
    max_upload_interval_seconds: int | None = None
    max_upload_records: int | None = None
    kind: Literal["", "edge"] | None = None
    frequency: Literal["high", "low"] | None = None
    ownership_challenge: Text | None = None
    filter_attack_traffic: Literal[False] | None = None


class NewJob(_Job):
    """A job to be made."""

    destination_conf: Conf
    dataset: Text = "audit_records"


class JobChanges(_Job):
    """What is to be different."""

    destination_conf: Conf | None = None
    dataset: Text | None = None


class DestinationBody(Body):
    """A destination, perhaps with what was read there."""

    destination_conf: Conf
    ownership_challenge: Text | None = None
    name: Text | None = None


@router.get(_PATH + "/jobs", dependencies=READ)
async def list_jobs(context: Ctx) -> JSONResponse:
    """List jobs, the oldest first, with how they are doing."""
    return await _list(context, None)


@router.get(_PATH + "/datasets/{dataset}/jobs", dependencies=READ)
async def list_jobs_of(context: Ctx, dataset: str) -> JSONResponse:
    """List the jobs of a data set."""
    return await _list(context, dataset)


@router.get(_PATH + "/datasets/{dataset}/fields", dependencies=READ)
async def list_fields(context: Ctx, dataset: str) -> JSONResponse:
    """Return the fields of a data set, and what each means."""
    if dataset not in DATASETS:
        raise NotFound(f"There is no data set {dataset[:50]!r}: {', '.join(DATASETS)} are there.", NO_JOB)
    return success(dict(DATASETS[dataset].fields))


@router.post(_PATH + "/jobs", dependencies=EDIT)
async def create_job(context: Ctx, body: NewJob) -> JSONResponse:
    """Make a job. Something is written to the destination first, so that one that does not work is told."""
    await _check_destination(context, body.destination_conf, body.ownership_challenge)
    fields = _fields(body)

    async def operation(work: Work) -> LogpushJob:
        return await logpush.create(work, fields)

    return success(_json(await context.write(operation), []))


@router.get(_PATH + "/jobs/{job_id}", dependencies=READ)
async def get_job(context: Ctx, job_id: JobId) -> JSONResponse:
    """Return a job."""
    async with context.read() as session:
        row = await logpush.find(session, context.account_id, job_id)
        status = await edge_logs.status_of(session, [row.id])
    return success(_json(row, status[row.id]))


@router.put(_PATH + "/jobs/{job_id}", dependencies=EDIT)
async def edit_job(context: Ctx, job_id: JobId, body: JobChanges) -> JSONResponse:
    """Change what the body names."""
    conf = body.destination_conf
    if conf is not None:
        async with context.read() as session:
            row = await logpush.find(session, context.account_id, job_id)
        conf = logpush.kept_secrets(row, conf)
        if conf != row.destination_conf:
            await _check_destination(context, conf, body.ownership_challenge)
    fields = _fields(body, conf)

    async def operation(work: Work) -> LogpushJob:
        return await logpush.edit(work, job_id, fields)

    return success(_json(await context.write(operation), []))


@router.delete(_PATH + "/jobs/{job_id}", dependencies=EDIT)
async def delete_job(context: Ctx, job_id: JobId) -> JSONResponse:
    """Delete a job: edges push nothing more of it."""

    async def operation(work: Work) -> dict[str, Any]:
        return {"id": (await logpush.remove(work, job_id)).id}

    return success(await context.write(operation))


@router.post(_PATH + "/ownership", dependencies=EDIT)
async def challenge(context: Ctx, body: DestinationBody) -> JSONResponse:
    """Write a file to a destination. Who can read it may name the destination in a job."""
    destination = destination_of(body.destination_conf)
    name = "ownership-challenge.txt"
    await write(destination, name, logpush.challenge_of(destination, context.installation.management_key))
    return success({"filename": name, "message": "", "valid": True})


@router.post(_PATH + "/ownership/validate", dependencies=EDIT)
async def validate_challenge(context: Ctx, body: DestinationBody) -> JSONResponse:
    """Return whether what was read at a destination is what was written there."""
    destination = destination_of(body.destination_conf)
    key, told = context.installation.management_key, body.ownership_challenge or ""
    return success({"valid": logpush.is_challenge(destination, key, told)})


@router.post(_PATH + "/validate/destination", dependencies=EDIT)
async def validate_destination(context: Ctx, body: DestinationBody) -> JSONResponse:
    """Return whether a destination can be written to."""
    try:
        await write(destination_of(body.destination_conf), TEST_NAME, TEST_TEXT)
    except Invalid as error:
        return success({"valid": False, "message": str(error)})
    return success({"valid": True, "message": ""})


@router.post(_PATH + "/validate/destination/exists", dependencies=READ)
async def destination_exists(context: Ctx, body: DestinationBody) -> JSONResponse:
    """Return whether a job pushes to a destination already."""
    wanted = destination_of(body.destination_conf).shown
    async with context.read() as session:
        rows = await logpush.listed(session, context.account_id)
    return success({"exists": any(destination_of(row.destination_conf).shown == wanted for row in rows)})


async def _list(context: Context, dataset: str | None) -> JSONResponse:
    async with context.read() as session:
        rows = await logpush.listed(session, context.account_id, dataset)
        status = await edge_logs.status_of(session, [row.id for row in rows])
    return success([_json(row, status[row.id]) for row in rows])


async def _check_destination(context: Context, conf: str, told: str | None) -> None:
    destination = destination_of(conf)
    if logpush.needs_challenge(destination):
        if told is None or not logpush.is_challenge(destination, context.installation.management_key, told):
            raise Invalid(
                "A bucket that edges reach without keys in its URL needs `ownership_challenge`: what "
                "`POST logpush/ownership` wrote into it.",
                BAD_JOB,
            )
    await write(destination, TEST_NAME, TEST_TEXT)


def _fields(body: NewJob | JobChanges, conf: str | None = None) -> JobFields:
    given = body.model_dump(include=set(_SETTINGS) & body.model_fields_set)
    _check_sizes(given)
    return JobFields(
        name=body.name, dataset=body.dataset, enabled=body.enabled,
        destination_conf=conf if conf is not None else body.destination_conf, settings=given,
    )  # fmt: skip


def _check_sizes(given: dict[str, Any]) -> None:
    for name, low, high in (
        ("max_upload_bytes", 5_000_000, 1_000_000_000),
        ("max_upload_interval_seconds", 30, 300),
        ("max_upload_records", 1_000, 1_000_000),
    ):
        value = given.get(name)
        if value and not low <= value <= high:
            raise Invalid(f"{name} is 0, or a number from {low} to {high}.", BAD_JOB)


def _json(row: LogpushJob, status: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    failing = [(name, told) for name, told in status if told.get("error_message")]
    complete = [told["last_complete"] for _, told in status if told.get("last_complete")]
    errors = [told["last_error"] for _, told in failing if told.get("last_error")]
    return {
        "id": row.id,
        "name": row.name,
        "dataset": row.dataset,
        "enabled": row.enabled,
        "destination_conf": redacted(row.destination_conf),
        "kind": "",
        "filter": None,
        "output_options": None,
        "max_upload_bytes": None,
        "max_upload_interval_seconds": None,
        "max_upload_records": None,
        "frequency": None,
        "logpull_options": None,
        **row.settings,
        "last_complete": max(complete, default=None),
        "last_error": max(errors, default=None),
        "error_message": "; ".join(f"{name}: {told['error_message']}" for name, told in failing)[:2000] or None,
        "records_sent": sum(told.get("sent", 0) for _, told in status),
        "records_lost": sum(told.get("lost", 0) for _, told in status),
    }
