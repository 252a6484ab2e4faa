"""Makes a batch of lines of the log, as a job wants it. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pyconnector.edge.audit.chain import TAIL
from pyconnector.logpush.destinations import PostgresqlDestination
from pyconnector.logpush.senders.base import Batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyconnector.logpush.jobs import Job


def make_batch(job: Job, lines: Sequence[bytes], lost: int = 0) -> Batch | None:
    """Return what to send of some lines; None where the job wants none of them.

    `lost` records are told of at its beginning, by one that says only this.
    """
    if not lines:
        return None
    found = TAIL.search(lines[-1])
    batch_id = found[1].decode("ascii") if found is not None else ""
    if job.dataset is None and not isinstance(job.destination, PostgresqlDestination):
        begun, ended = (str(_parsed(line).get("Datetime", "")) for line in (lines[0], lines[-1]))
        told = json.dumps({"Datetime": begun, "AuditRecordsLost": lost}, separators=(",", ":")).encode()
        body = b"\n".join([told, *lines] if lost else lines) + b"\n"
        return Batch(id=batch_id, body=body, count=len(lines), begun=begun, ended=ended)
    records = [record for line in lines if (record := _parsed(line))]
    if not records:
        return None
    begun, ended = str(records[0].get("Datetime", "")), str(records[-1].get("Datetime", ""))
    if lost:
        records.insert(
            0, {"Datetime": begun, "AuditRecordsLost": lost, "Chain": f"lost-before-{records[0].get('Chain', '')}"}
        )
    wanted = [view for record in records if (view := _view(job, record)) is not None and job.wanted(view)]
    if not wanted:
        return None
    if isinstance(job.destination, PostgresqlDestination):
        rows = tuple((str(record.get("Chain", "")), record) for record in wanted)
        return Batch(id=batch_id, body=b"", count=len(rows), begun=begun, ended=ended, rows=rows)
    body = job.output.render(wanted)
    return Batch(id=batch_id, body=body, count=len(wanted), begun=begun, ended=ended)


def _view(job: Job, record: dict[str, Any]) -> dict[str, Any] | None:
    return record if job.dataset is None else job.dataset.view(record)


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        return {}  # damage that `audit verify` tells of
    return value if isinstance(value, dict) and "Datetime" in value else {}
