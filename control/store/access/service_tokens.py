"""Service tokens: made, shown without their secrets, renewed, given new secrets, switched off, deleted."""

from __future__ import annotations

import datetime
import os
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from pyconnector.control.store.access import keys
from pyconnector.control.store.access.durations import end_of
from pyconnector.control.store.access.rows import find_row
from pyconnector.control.store.access.tables import ServiceToken, TokenUse
from pyconnector.control.store.devices import devices
from pyconnector.control.store.errors import Invalid
from pyconnector.control.store.pages import Page, PageRequest, fetch_page
from pyconnector.control.store.work import Entry
from pyconnector.identity.service_tokens import (
    ENTROPY_BYTES,
    check_names,
    digest,
    make_older_secret,
    make_secret,
)

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from pyconnector.control.store.work import Work

NO_TOKEN = 12_130
BAD_TOKEN = 12_131
DEFAULT_DURATION = "8760h"
#: How long the secret before may live on.
MIN_GRACE, MAX_GRACE = datetime.timedelta(hours=1), datetime.timedelta(days=30)
#: Forms of secrets, by how they are called.
FORMS = {"cfast": make_secret, "hex": make_older_secret}


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFields:
    """What is to be set of a token; None leaves a field as it is, or at its default."""

    name: str | None = None
    duration: str | None = None
    enabled: bool | None = None
    client_secret_version: float | None = None
    previous_client_secret_expires_at: datetime.datetime | None = None
    role: str | None = None
    labels: list[str] | None = None
    owner: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A token and, right after it was made, its secret."""

    row: ServiceToken
    secret: str | None = field(default=None, repr=False)
    last_seen_at: datetime.datetime | None = None


async def find(session: AsyncSession, account_id: str, token_id: str) -> ServiceToken:
    """Return a token. Cancel changes nothing.

    Raises:
        NotFound: there is none.
    """
    return await find_row(session, ServiceToken, account_id, token_id, "service token", NO_TOKEN)


async def listed(
    session: AsyncSession, account_id: str, page: PageRequest, *, name: str | None = None, search: str | None = None
) -> Page[ServiceToken]:
    """Return a page of tokens, the oldest first. Cancel changes nothing."""
    statement = select(ServiceToken).where(ServiceToken.account_id == account_id)
    if name is not None:
        statement = statement.where(ServiceToken.name == name)
    if search is not None:
        statement = statement.where(ServiceToken.name.contains(search, autoescape=True))
    return await fetch_page(session, statement, page, ServiceToken.created_at, ServiceToken.id)


async def last_seen(session: AsyncSession, token_ids: list[str]) -> dict[str, datetime.datetime]:
    """Return when each token was last used, of those that were. Cancel changes nothing."""
    rows = (await session.execute(select(TokenUse).where(TokenUse.token_id.in_(token_ids)))).scalars()
    return {row.token_id: row.seen_at for row in rows}


async def note_use(work: Work, ages: dict[str, float]) -> None:
    """Keep when tokens were used, `ages` seconds ago, as an edge reports it. Cancel undoes it."""
    if not ages:
        return
    known = set((await work.session.execute(select(ServiceToken.id).where(ServiceToken.id.in_(list(ages))))).scalars())
    present = {
        row.token_id: row
        for row in (await work.session.execute(select(TokenUse).where(TokenUse.token_id.in_(list(ages))))).scalars()
    }
    for token_id in known:
        moment = work.now - datetime.timedelta(seconds=ages[token_id])
        row = present.get(token_id)
        if row is None:
            work.session.add(TokenUse(token_id=token_id, seen_at=moment))
        elif row.seen_at < moment:
            row.seen_at = moment


async def create(work: Work, fields: TokenFields, form: str = "cfast") -> Shown:
    """Make a token with its device record; what is returned alone holds its secret. Cancel undoes it.

    Raises:
        Invalid: a field makes no sense.
        Conflict: no Mesh address is left.
    """
    await keys.ensure(work)
    secret = FORMS[form](os.urandom(ENTROPY_BYTES))
    duration = fields.duration or DEFAULT_DURATION
    row = ServiceToken(
        id=str(uuid.uuid4()), account_id=work.account_id, client_id=f"{uuid.uuid4().hex}.access", name=fields.name,
        secret_sha256=digest(secret).hex(), secret_version=int(fields.client_secret_version or 1),
        previous_sha256=None, previous_expires_at=None, duration=duration,
        expires_at=end_of(duration, work.now, BAD_TOKEN), enabled=fields.enabled is not False, role="", labels=[],
        owner="", valid_after=None, created_at=work.now, updated_at=work.now,
    )  # fmt: skip
    _set_names(row, fields)
    work.session.add(row)
    _changed(work, row, "create")
    await work.session.flush()
    await devices.add_for_token(work, row)
    return Shown(row=row, secret=secret)


async def edit(work: Work, token_id: str, fields: TokenFields) -> Shown:
    """Change what is given; a higher `client_secret_version` gives it a new secret. Cancel undoes it.

    Raises:
        NotFound: there is none.
        Invalid: a field makes no sense.
    """
    row = await find(work.session, work.account_id, token_id)
    if fields.name is not None:
        row.name = fields.name
        await devices.rename_token(work, row)
    if fields.duration is not None:
        row.duration, row.expires_at = fields.duration, end_of(fields.duration, row.created_at, BAD_TOKEN)
    if fields.enabled is not None:
        if row.enabled and not fields.enabled:
            row.valid_after = work.now
        row.enabled = fields.enabled
    _set_names(row, fields)
    secret = None
    version = fields.client_secret_version
    if version is not None and version != row.secret_version:
        if version != row.secret_version + 1:
            raise Invalid("client_secret_version can stay as it is, or grow by one for a new secret.", BAD_TOKEN)
        secret = _new_secret(work, row, fields.previous_client_secret_expires_at)
    elif (moment := fields.previous_client_secret_expires_at) is not None:
        if moment > work.now + MAX_GRACE:
            raise Invalid("The previous secret may live on for 30 days at most.", BAD_TOKEN)
        row.previous_expires_at = moment
        if moment <= work.now:
            row.valid_after = work.now
    _changed(work, row, "update")
    return Shown(row=row, secret=secret)


async def refresh(work: Work, token_id: str) -> Shown:
    """Let a token live for its whole duration from now on. Cancel undoes it.

    Raises:
        NotFound: there is none.
    """
    row = await find(work.session, work.account_id, token_id)
    row.expires_at = end_of(row.duration, work.now, BAD_TOKEN)
    _changed(work, row, "update")
    return Shown(row=row)


async def rotate(work: Work, token_id: str, grace_until: datetime.datetime | None) -> Shown:
    """Give a token a new secret; the old one dies at once, or at `grace_until`. Cancel undoes it.

    Raises:
        NotFound: there is none.
        Invalid: the grace is shorter than an hour or longer than 30 days.
    """
    row = await find(work.session, work.account_id, token_id)
    secret = _new_secret(work, row, grace_until)
    _changed(work, row, "update")
    return Shown(row=row, secret=secret)


async def remove(work: Work, token_id: str) -> ServiceToken:
    """Delete a token: nobody passes with it any more, nor with what was issued for it. Cancel undoes it.

    Raises:
        NotFound: there is none.
    """
    row = await find(work.session, work.account_id, token_id)
    use = await work.session.get(TokenUse, token_id)
    if use is not None:
        await work.session.delete(use)
    await devices.forget_token(work, token_id)
    await work.session.delete(row)
    work.publish("service_token", row.id, None)
    work.audit(
        Entry(
            action="delete", resource_type="access_service_token", resource_id=row.id,
            description=f"Deleted service token {row.name}",
        )
    )  # fmt: skip
    return row


def edge_value(row: ServiceToken) -> dict[str, Any]:
    """Return what edges need to know: digests, and no secret."""
    secrets: list[dict[str, Any]] = [{"sha256": row.secret_sha256, "expires": None}]
    if row.previous_sha256 is not None and row.previous_expires_at is not None:
        secrets.append({"sha256": row.previous_sha256, "expires": row.previous_expires_at.timestamp()})
    return {
        "client_id": row.client_id, "name": row.name, "secrets": secrets, "enabled": row.enabled,
        "expires": None if row.expires_at is None else row.expires_at.timestamp(),
        "valid_after": 0.0 if row.valid_after is None else row.valid_after.timestamp(),
        "role": row.role, "labels": row.labels, "owner": row.owner,
    }  # fmt: skip


def _set_names(row: ServiceToken, fields: TokenFields) -> None:
    if fields.role is not None:
        row.role = fields.role
    if fields.labels is not None:
        row.labels = sorted(set(fields.labels))
    if fields.owner is not None:
        row.owner = fields.owner
    try:
        check_names(row.role, row.labels, row.owner)
    except ValueError as error:
        raise Invalid(str(error), BAD_TOKEN) from None


def _new_secret(work: Work, row: ServiceToken, grace_until: datetime.datetime | None) -> str:
    if grace_until is not None and not work.now + MIN_GRACE <= grace_until <= work.now + MAX_GRACE:
        raise Invalid("The previous secret may live on for an hour to 30 days, or not at all.", BAD_TOKEN)
    secret = make_secret(os.urandom(ENTROPY_BYTES))
    row.previous_sha256 = row.secret_sha256 if grace_until is not None else None
    row.previous_expires_at = grace_until
    if grace_until is None:
        row.valid_after = work.now  # whoever holds the old secret may hold tokens that were issued for it
    row.secret_sha256 = digest(secret).hex()
    row.secret_version += 1
    return secret


def _changed(work: Work, row: ServiceToken, action: str) -> None:
    row.updated_at = work.now
    work.publish("service_token", row.id, edge_value(row))
    told = {
        "id": row.id, "name": row.name, "client_id": row.client_id, "enabled": row.enabled, "role": row.role,
        "labels": row.labels, "owner": row.owner, "client_secret_version": row.secret_version,
    }  # fmt: skip
    work.audit(
        Entry(
            action=action, resource_type="access_service_token", resource_id=row.id,
            description=f"{action.capitalize()}d service token {row.name}", response=told,
        )
    )  # fmt: skip
