"""How often something of a login was done at all edges together: guesses at a PIN, codes that count once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select, text

from pyconnector.control.store.access.tables import LoginCount

if TYPE_CHECKING:
    from pyconnector.control.store.work import Work

#: Counts that are kept at once, and seconds after which one is forgotten. Beyond, nothing new is allowed.
MAX_COUNTS, KEPT_SECONDS = 100_000, 3600.0
# One statement, so that of two edges that ask at once each gets a number of its own.
_TAKE = text(
    "INSERT INTO login_counts (id, begun, number) VALUES (:id, :now, 1) ON CONFLICT (id) DO UPDATE SET "
    "number = CASE WHEN login_counts.begun <= :before THEN 1 ELSE login_counts.number + 1 END, "
    "begun = CASE WHEN login_counts.begun <= :before THEN :now ELSE login_counts.begun END RETURNING number"
)


async def take(work: Work, key: str, limit: int, seconds: float) -> bool:
    """Count one more of `key`; return whether that is at most the `limit`th within `seconds` of the first.

    Cancel undoes it.
    """
    now = work.now.timestamp()
    number = (await work.session.execute(_TAKE, {"id": key, "now": now, "before": now - seconds})).scalar_one()
    if number > 1:
        return bool(number <= limit)
    await work.session.execute(delete(LoginCount).where(LoginCount.begun < now - KEPT_SECONDS))
    kept = (await work.session.execute(select(func.count(LoginCount.id)))).scalar_one()
    if kept > MAX_COUNTS:
        await work.session.execute(delete(LoginCount).where(LoginCount.id == key))
        return False
    return limit > 0
