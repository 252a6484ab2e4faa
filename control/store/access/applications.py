"""Applications: the places that are guarded, and by which policies in which order."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from pyconnector.control.store.access import keys, organization, providers
from pyconnector.control.store.access.conditions import find_policy
from pyconnector.control.store.access.durations import seconds_of
from pyconnector.control.store.access.rows import find_row, tell
from pyconnector.control.store.access.tables import Application
from pyconnector.control.store.errors import Conflict, Invalid
from pyconnector.control.store.objects.names import hostname_of
from pyconnector.control.store.pages import Page, PageRequest, fetch_page
from pyconnector.identity.applications.application import ApplicationError, parse_application, parse_pattern

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from pyconnector.control.store.work import Work

NO_APPLICATION = 12_120
BAD_APPLICATION = 12_121
EXISTS = 12_122


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationFields:
    """The whole of an application as it is to be."""

    name: str
    places: list[str]
    policies: list[str]
    session_duration: str | None = None
    token_header: str = ""
    identity_headers: bool = False
    allowed_idps: list[str] = field(default_factory=list)
    auto_redirect_to_identity: bool = False


async def find(session: AsyncSession, account_id: str, application_id: str) -> Application:
    """Return an application. Cancel changes nothing.

    Raises:
        NotFound: there is none.
    """
    return await find_row(session, Application, account_id, application_id, "Access application", NO_APPLICATION)


async def listed(
    session: AsyncSession, account_id: str, page: PageRequest, *, name: str | None = None, aud: str | None = None
) -> Page[Application]:
    """Return a page of applications, the oldest first. Cancel changes nothing."""
    statement = select(Application).where(Application.account_id == account_id)
    if name is not None:
        statement = statement.where(Application.name == name)
    if aud is not None:
        statement = statement.where(Application.aud == aud)
    return await fetch_page(session, statement, page, Application.created_at, Application.id)


async def put(work: Work, application_id: str | None, fields: ApplicationFields) -> Application:
    """Make an application, or replace what one of that id says; its audience tag stays. Cancel undoes it.

    Raises:
        NotFound: there is none of that id.
        Invalid: it makes no sense, or refers to a policy that is not there.
        Conflict: another application has one of its places.
    """
    row = None if application_id is None else await find(work.session, work.account_id, application_id)
    await keys.ensure(work)
    places = [_place(text) for text in fields.places]
    if len(set(fields.policies)) != len(fields.policies):
        raise Invalid("An application has each policy once.", BAD_APPLICATION)
    for policy_id in fields.policies:
        await find_policy(work.session, work.account_id, policy_id)
    for provider_id in fields.allowed_idps:
        await providers.find(work.session, work.account_id, provider_id)
    await _check_free(work, places, application_id)
    duration = fields.session_duration or (await organization.ensure(work)).session_duration
    seconds_of(duration, BAD_APPLICATION)
    action = "create" if row is None else "update"
    if row is None:
        row = Application(
            id=str(uuid.uuid4()), account_id=work.account_id, aud=os.urandom(32).hex(), valid_after=None,
            created_at=work.now,
        )  # fmt: skip
        work.session.add(row)
    row.name, row.places, row.policies = fields.name, places, fields.policies
    row.session_duration, row.token_header = duration, fields.token_header
    row.identity_headers, row.updated_at = fields.identity_headers, work.now
    row.allowed_idps, row.auto_redirect_to_identity = fields.allowed_idps, fields.auto_redirect_to_identity
    try:
        parse_application(row.id, edge_value(row))
    except ApplicationError as error:
        raise Invalid(str(error), BAD_APPLICATION) from None
    _changed(work, row, action)
    return row


async def revoke_tokens(work: Work, application_id: str) -> Application:
    """Let every token that was issued for an application be worth nothing. Cancel undoes it.

    Raises:
        NotFound: there is none.
    """
    row = await find(work.session, work.account_id, application_id)
    row.valid_after = row.updated_at = work.now
    _changed(work, row, "update")
    return row


async def remove(work: Work, application_id: str) -> Application:
    """Delete an application: its places are open from then on. Cancel undoes it.

    Raises:
        NotFound: there is none.
    """
    row = await find(work.session, work.account_id, application_id)
    await work.session.delete(row)
    tell(work, "access_application", row.id, "delete", f"Access application {row.name}", None)
    return row


def edge_value(row: Application) -> dict[str, Any]:
    """Return what edges need to know."""
    return {
        "name": row.name, "aud": row.aud, "patterns": row.places, "policies": row.policies,
        "session_seconds": seconds_of(row.session_duration, BAD_APPLICATION), "token_header": row.token_header,
        "valid_after": 0.0 if row.valid_after is None else row.valid_after.timestamp(),
        "identity_headers": row.identity_headers, "allowed_idps": row.allowed_idps,
        "auto_redirect_to_identity": row.auto_redirect_to_identity,
    }  # fmt: skip


def _place(text: str) -> str:
    host, slash, path = text.partition("/")
    if host and not host.isascii():
        host = hostname_of(host)
    try:
        return parse_pattern(host + slash + path).text
    except ApplicationError as error:
        raise Invalid(str(error), BAD_APPLICATION) from None


async def _check_free(work: Work, places: list[str], application_id: str | None) -> None:
    if len(set(places)) != len(places):
        raise Invalid("An application has each place once.", BAD_APPLICATION)
    statement = select(Application).where(Application.account_id == work.account_id)
    for other in (await work.session.execute(statement)).scalars():
        if other.id != application_id and (taken := set(places) & set(other.places)):
            raise Conflict(f"{min(taken)} belongs to the application {other.name} already.", EXISTS)


def _changed(work: Work, row: Application, action: str) -> None:
    tell(work, "access_application", row.id, action, f"Access application {row.name}", edge_value(row))
