"""The login log: who was let in at which application, and who was not, as edges report it; the newest are kept."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, not_, select

from pyconnector.control.store.logs.tables import AccessRequest
from pyconnector.control.store.pages import Page, PageRequest

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncSession

    from pyconnector.control.store.work import Work

#: Rows that are kept, and how many more may come before the oldest go.
MAX_ROWS, SLACK = 100_000, 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery:
    """Which rows are wanted. Pairs are a value and whether it is to be another one."""

    page: PageRequest
    newest_first: bool = True
    since: datetime.datetime | None = None
    until: datetime.datetime | None = None
    email: str | None = None
    email_exact: bool = False
    email_other: bool = False
    allowed: tuple[bool, bool] | None = None
    app_uid: tuple[str, bool] | None = None
    ray_id: tuple[str, bool] | None = None


async def add(work: Work, rows: list[dict[str, Any]]) -> None:
    """Keep what an edge reports: each with `age` in seconds beside its fields. Cancel undoes it."""
    if not rows:
        return
    for row in rows:
        told = dict(row)
        work.session.add(
            AccessRequest(
                account_id=work.account_id, created_at=work.now - datetime.timedelta(seconds=told.pop("age")),
                allowed=told.pop("allowed"), app_uid=told.pop("app_uid"), user_email=told.pop("user_email"),
                ray_id=told.pop("ray_id"), told=told,
            )
        )  # fmt: skip
    await work.session.flush()
    table, mine = AccessRequest, AccessRequest.account_id == work.account_id
    count = (await work.session.execute(select(func.count()).where(mine))).scalar_one()
    if count > MAX_ROWS + SLACK:
        newest = select(table.id).where(mine).order_by(table.created_at.desc(), table.id.desc()).limit(MAX_ROWS)
        await work.session.execute(delete(table).where(mine, table.id.not_in(newest)))


async def listed(session: AsyncSession, account_id: str, query: LogQuery) -> Page[AccessRequest]:
    """Return a page of rows. Cancel changes nothing."""
    table = AccessRequest
    conditions: list[ColumnElement[bool]] = [table.account_id == account_id]
    if query.since is not None:
        conditions.append(table.created_at >= query.since)
    if query.until is not None:
        conditions.append(table.created_at <= query.until)
    if query.email is not None:
        found = (
            table.user_email == query.email
            if query.email_exact
            else table.user_email.contains(query.email, autoescape=True)
        )
        conditions.append(not_(found) if query.email_other else found)
    for column, wanted in (
        (table.allowed, query.allowed),
        (table.app_uid, query.app_uid),
        (table.ray_id, query.ray_id),
    ):
        if wanted is not None:
            conditions.append(column != wanted[0] if wanted[1] else column == wanted[0])
    total = (await session.execute(select(func.count()).select_from(table).where(*conditions))).scalar_one()
    order = (table.created_at.desc(), table.id.desc()) if query.newest_first else (table.created_at, table.id)
    page = query.page
    statement = select(table).where(*conditions).order_by(*order)
    statement = statement.limit(page.per_page).offset((page.page - 1) * page.per_page)
    return Page(rows=list((await session.execute(statement)).scalars()), request=page, total=total)
