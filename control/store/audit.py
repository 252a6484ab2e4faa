"""The audit log, read page by page; each page begins where the one before ended."""

from __future__ import annotations

import base64
import binascii
import datetime
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import and_, or_, select

from pyconnector.control.store.errors import Invalid
from pyconnector.control.store.models import AuditRecord

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditQuery:
    """Which records are wanted. `equal` maps a column to the values of which it must have one."""

    since: datetime.datetime
    before: datetime.datetime
    newest_first: bool = True
    limit: int = 100
    cursor: str | None = None
    equal: dict[str, list[str]] = field(default_factory=dict)


async def listed(session: AsyncSession, account_id: str, query: AuditQuery) -> tuple[list[AuditRecord], str | None]:
    """Return records, and the cursor of the next page if there is one. Cancel changes nothing.

    Raises:
        Invalid: the cursor is none of ours.
    """
    table = AuditRecord
    statement = select(table).where(
        table.account_id == account_id, table.time >= query.since, table.time < query.before
    )
    for name, values in query.equal.items():
        statement = statement.where(getattr(table, name).in_(values))
    if query.cursor is not None:
        time, record_id = _decoded(query.cursor)
        beyond = table.time < time if query.newest_first else table.time > time
        after = table.id < record_id if query.newest_first else table.id > record_id
        statement = statement.where(or_(beyond, and_(table.time == time, after)))
    order = (table.time.desc(), table.id.desc()) if query.newest_first else (table.time, table.id)
    rows = list((await session.execute(statement.order_by(*order).limit(query.limit + 1))).scalars())
    more = len(rows) > query.limit
    rows = rows[: query.limit]
    return rows, _encoded(rows[-1]) if more else None


def _encoded(record: AuditRecord) -> str:
    return base64.urlsafe_b64encode(json.dumps([record.time.isoformat(), record.id]).encode()).decode("ascii")


def _decoded(cursor: str) -> tuple[datetime.datetime, str]:
    try:
        time, record_id = json.loads(base64.urlsafe_b64decode(cursor))
        moment = datetime.datetime.fromisoformat(time)
        if not isinstance(record_id, str) or moment.tzinfo is None:
            raise ValueError
    except (ValueError, TypeError, binascii.Error, RecursionError):
        raise Invalid("The cursor is none of this log's.", 1001) from None
    return moment, record_id
