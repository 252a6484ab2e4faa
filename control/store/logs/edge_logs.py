"""What edges report beside their connections: their last records, and how the jobs of Logpush are doing there."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, select

from pyconnector.control.store.logs.tables import EdgeLog
from pyconnector.control.store.models import Edge

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from pyconnector.control.store.work import Work

#: Records of an edge that are kept.
MAX_RECORDS = 100
#: After which an edge that is gone is forgotten here too.
KEPT = datetime.timedelta(hours=24)


async def note(work: Work, edge_id: str, records: list[dict[str, Any]], jobs: dict[str, dict[str, Any]]) -> None:
    """Keep what an edge reports. Cancel undoes it."""
    row = await work.session.get(EdgeLog, edge_id)
    if row is None:
        if not records and not jobs:
            return
        await work.session.execute(delete(EdgeLog).where(EdgeLog.seen_at < work.now - KEPT))
        row = EdgeLog(edge_id=edge_id, seen_at=work.now, records=[], jobs={})
        work.session.add(row)
    if records:
        row.records = [*row.records, *records][-MAX_RECORDS:]
        row.seen_at = work.now
    if row.jobs != jobs:
        row.jobs = jobs
        row.seen_at = work.now


async def last_records(session: AsyncSession, limit: int) -> list[dict[str, Any]]:
    """Return the last records of all edges, the newest first. Cancel reads nothing more."""
    rows = (await session.execute(select(EdgeLog))).scalars()
    records = [record for row in rows for record in row.records]
    return sorted(records, key=lambda record: str(record.get("Datetime", "")), reverse=True)[:limit]


async def status_of(session: AsyncSession, job_ids: list[int]) -> dict[int, list[tuple[str, dict[str, Any]]]]:
    """Return how jobs are doing, at each edge that told, by its name. Cancel reads nothing more."""
    names = {row.id: row.name for row in (await session.execute(select(Edge))).scalars()}
    found: dict[int, list[tuple[str, dict[str, Any]]]] = {job_id: [] for job_id in job_ids}
    for row in (await session.execute(select(EdgeLog))).scalars():
        if row.edge_id not in names:
            continue  # it is gone: what it could not push it pushes after its next start
        for job_id in job_ids:
            if (status := row.jobs.get(str(job_id))) is not None:
                found[job_id].append((names[row.edge_id], status))
    return found
