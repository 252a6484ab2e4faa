"""People who logged in at edges, and sessions that ended before their time."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from pyconnector.control.store.access import keys
from pyconnector.control.store.access.tables import EndedSession, User
from pyconnector.control.store.errors import Invalid, NotFound
from pyconnector.control.store.pages import Page, PageRequest, fetch_page
from pyconnector.control.store.work import Entry
from pyconnector.identity.people.person import email_of, subject_of

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from pyconnector.control.store.work import Work

NO_USER = 12_180
BAD_EMAIL = 12_181
#: Ended sessions that are forgotten with one report.
FORGOTTEN_AT_ONCE = 1000


async def find(session: AsyncSession, account_id: str, user_id: str) -> User:
    """Return a person. Cancel changes nothing.

    Raises:
        NotFound: nobody of that id ever logged in.
    """
    row = await session.get(User, user_id)
    if row is None or row.account_id != account_id:
        raise NotFound("Nobody of that id ever logged in.", NO_USER)
    return row


async def listed(session: AsyncSession, account_id: str, page: PageRequest, email: str | None = None) -> Page[User]:
    """Return a page of people, who was seen first first. Cancel changes nothing."""
    statement = select(User).where(User.account_id == account_id)
    if email is not None:
        statement = statement.where(User.email == email.lower())
    return await fetch_page(session, statement, page, User.created_at, User.id)


async def note_login(work: Work, email: str, name: str, age: float) -> None:
    """Keep that somebody logged in, `age` seconds ago, as an edge reports it. Cancel undoes it."""
    if email_of(email) != email:
        return
    row = await _ensure(work, email)
    moment = work.now - datetime.timedelta(seconds=age)
    row.name = name or row.name
    if row.last_successful_login is None or row.last_successful_login < moment:
        row.last_successful_login = moment


async def revoke(work: Work, email: str) -> None:
    """Let every session of a person be worth nothing. Cancel undoes it.

    Raises:
        Invalid: that is no e-mail address.
    """
    address = email_of(email)
    if address is None:
        raise Invalid(f"{email[:60]!r} is no e-mail address.", BAD_EMAIL)
    await keys.ensure(work)
    row = await _ensure(work, address)
    row.valid_after = row.updated_at = work.now
    work.publish("access_user", row.id, user_value(row))
    work.audit(
        Entry(
            action="update", resource_type="access_user", resource_id=row.id,
            description=f"Revoked the sessions of {address}",
        )
    )  # fmt: skip


async def end_sessions(work: Work, lives: dict[str, float]) -> None:
    """Tell every edge of sessions that were ended at one, and forget those that are long over. Cancel undoes it.

    `lives` are the seconds for which tokens of each could still be shown.
    """
    if not lives:
        return
    present = set(
        (await work.session.execute(select(EndedSession.id).where(EndedSession.id.in_(list(lives))))).scalars()
    )
    for nonce in lives.keys() - present:
        end = work.now + datetime.timedelta(seconds=lives[nonce])
        row = EndedSession(id=nonce, account_id=work.account_id, expires_at=end)
        work.session.add(row)
        work.publish("access_ended_session", nonce, session_value(row))
    over = select(EndedSession).where(EndedSession.expires_at < work.now).limit(FORGOTTEN_AT_ONCE)
    for row in (await work.session.execute(over)).scalars():
        await work.session.delete(row)
        work.publish("access_ended_session", row.id, None)


def user_value(row: User) -> dict[str, Any]:
    """Return what edges need to know of a person."""
    return {"email": row.email, "valid_after": 0.0 if row.valid_after is None else row.valid_after.timestamp()}


def session_value(row: EndedSession) -> dict[str, Any]:
    """Return what edges need to know of a session that ended."""
    return {"expires": row.expires_at.timestamp()}


async def _ensure(work: Work, email: str) -> User:
    user_id = subject_of(work.account_id, email)
    row = await work.session.get(User, user_id)
    if row is None:
        row = User(
            id=user_id, account_id=work.account_id, email=email, name="", valid_after=None,
            last_successful_login=None, created_at=work.now, updated_at=work.now,
        )  # fmt: skip
        work.session.add(row)
    return row
