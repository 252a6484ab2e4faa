"""One job: what is pushed where, in which form and in which batches. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pyconnector.logpush.datasets import DATASETS, Dataset
from pyconnector.logpush.destinations import Destination, PostgresqlDestination, parse_destination
from pyconnector.logpush.filters import parse_filter
from pyconnector.logpush.output import Output, parse_output

if TYPE_CHECKING:
    from pyconnector.logpush.filters import Predicate

#: A batch of a job that says nothing: so many records, so many bytes of lines, after so many seconds.
BATCH_RECORDS, BATCH_BYTES, BATCH_SECONDS = 10_000, 5_000_000, 5.0
#: Whatever a job says, no batch is larger: it is held in memory.
MAX_BATCH_BYTES = 16_000_000


class JobError(ValueError):
    """It is no job. The text is one sentence without secrets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one pusher does."""

    id: str
    "Where it was is kept under this name."
    name: str = ""
    destination: Destination
    dataset: Dataset | None = None
    "None: whole lines, as they are in the edge's own file."
    wanted: Predicate = field(default=lambda _: True)
    output: Output = field(default_factory=Output)
    records: int = BATCH_RECORDS
    bytes: int = BATCH_BYTES
    seconds: float = BATCH_SECONDS

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.destination.shown}>"


def parse_job(job_id: str, value: dict[str, Any]) -> Job:
    """Return a job as the control plane tells it: fields of the API, by their names there.

    Raises:
        JobError: it cannot be done.
    """
    dataset = DATASETS.get(value.get("dataset") or "")
    if dataset is None:
        raise JobError(f"there is no data set {str(value.get('dataset'))[:50]!r}: {', '.join(DATASETS)} are there")
    fields = set(dataset.fields)
    try:
        destination = parse_destination(value["destination_conf"])
        wanted = parse_filter(value.get("filter") or "", fields)
        output = parse_output(dict(value.get("output_options") or {}), fields)
    except ValueError as error:
        raise JobError(f"{str(error)[:1].upper()}{str(error)[1:]}.") from None
    if isinstance(destination, PostgresqlDestination) and dataset.name != "audit_records":
        raise JobError("A table of PostgreSQL takes the data set audit_records.")
    return Job(
        id=job_id, name=value.get("name") or "", destination=destination, dataset=dataset, wanted=wanted,
        output=output if output.field_names else _with_fields(output, dataset),
        records=value.get("max_upload_records") or BATCH_RECORDS,
        bytes=min(value.get("max_upload_bytes") or BATCH_BYTES, MAX_BATCH_BYTES),
        seconds=value.get("max_upload_interval_seconds") or BATCH_SECONDS,
    )  # fmt: skip


def _with_fields(output: Output, dataset: Dataset) -> Output:
    """Without `field_names` a record has all fields of the data set: no others, such as those of other data sets."""
    from dataclasses import replace

    return output if dataset.name == "audit_records" else replace(output, field_names=tuple(dataset.fields))
