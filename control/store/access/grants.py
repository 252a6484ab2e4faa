"""Grants: somebody's service token may read one path, and what lies below it, for a while, whatever policies say.

What is handed out is a narrowed token; an edge takes it as long as it knows the grant, so that deleting one ends what
runs under it.
"""

from __future__ import annotations

import datetime
import math
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, or_, select

from pyconnector.control.store.access import applications, keys, organization
from pyconnector.control.store.access.tables import Application, Grant, ServiceToken
from pyconnector.control.store.errors import Invalid, NotFound
from pyconnector.control.store.pages import Page, PageRequest, fetch_page
from pyconnector.control.store.work import Entry
from pyconnector.identity.access_token.scope import ScopeError, parse_scope
from pyconnector.identity.access_token.signing import load_key, narrowed_claims, service_claims, sign
from pyconnector.identity.applications.application import parse_application
from pyconnector.identity.applications.matching import Applications
from pyconnector.identity.service_tokens import ServiceToken as Known

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from pyconnector.control.store.work import Work

NO_GRANT, BAD_GRANT = 12_150, 12_151
#: How long a grant may last, in seconds.
MIN_SECONDS, MAX_SECONDS = 60, 7 * 86_400
#: Grants at once.
MAX_GRANTS = 10_000
#: What a grant is for.
METHODS = ("GET", "HEAD")


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A grant and, right after it was made, its token."""

    row: Grant
    token: str = field(repr=False)


async def listed(session: AsyncSession, account_id: str, page: PageRequest) -> Page[Grant]:
    """Return a page of grants, the oldest first. Cancel changes nothing."""
    statement = select(Grant).where(Grant.account_id == account_id)
    return await fetch_page(session, statement, page, Grant.created_at, Grant.id)


async def create(work: Work, *, token: str, host: str, path: str, seconds: int) -> Made:
    """Let the service token of a name or id read `path` of `host` for a while. Cancel undoes it.

    Raises:
        NotFound: there is no such token.
        Invalid: the path is none, nobody guards it, or the time is too short or too long.
    """
    if not MIN_SECONDS <= seconds <= MAX_SECONDS:
        raise Invalid(f"A grant lasts {MIN_SECONDS} seconds to {MAX_SECONDS // 86_400} days.", BAD_GRANT)
    try:
        path, methods = parse_scope(path, ",".join(METHODS))
    except ScopeError as error:
        raise Invalid(f"The grant makes no sense: {error}.", BAD_GRANT) from None
    await _forget_expired(work)
    await keys.ensure(work)
    service_token = await _token(work, token)
    application = await _guarding(work, host, path)
    begin = _begin(work.now, service_token, application)
    row = Grant(
        id=str(uuid.uuid4()), account_id=work.account_id, token_id=service_token.id, token_name=service_token.name,
        application_id=application.id, host=host, path=path or "/", created_at=work.now,
        expires_at=datetime.datetime.fromtimestamp(begin + seconds, datetime.UTC),
    )  # fmt: skip
    work.session.add(row)
    work.publish("access_grant", row.id, edge_value(row))
    issuer = f"https://{(await organization.ensure(work)).auth_domain}"
    whole = service_claims(_known(service_token), issuer=issuer, audience=application.aud, now=begin, seconds=seconds)
    claims = narrowed_claims(whole, now=begin, seconds=seconds, path=path, methods=methods, number=row.id)
    key = await keys.signing(work.session, work.account_id)
    _audit(work, row, "create", f"Granted {service_token.name} {row.host}{row.path} until {row.expires_at:%H:%M:%S}")
    return Made(row=row, token=sign(load_key(key.private_pem), claims | {"grant": True}).decode("ascii"))


async def remove(work: Work, grant_id: str) -> Grant:
    """End a grant. Cancel undoes it.

    Raises:
        NotFound: there is none.
    """
    row = await work.session.get(Grant, grant_id)
    if row is None or row.account_id != work.account_id:
        raise NotFound("There is no grant of that id.", NO_GRANT)
    await work.session.delete(row)
    work.publish("access_grant", row.id, None)
    _audit(work, row, "delete", f"Ended the grant of {row.host}{row.path} to {row.token_name}")
    return row


def edge_value(row: Grant) -> dict[str, Any]:
    """Return what edges need to know."""
    return {
        "token_id": row.token_id, "application_id": row.application_id, "expires": row.expires_at.timestamp(),
    }  # fmt: skip


def _begin(now: datetime.datetime, token: ServiceToken, application: Application) -> int:
    # Not dated before what revoked earlier tokens.
    moments = [moment for moment in (token.valid_after, application.valid_after) if moment is not None]
    return max(int(now.timestamp()), *(math.ceil(moment.timestamp()) for moment in moments), 0)


async def _forget_expired(work: Work) -> None:
    statement = select(Grant).where(Grant.account_id == work.account_id, Grant.expires_at <= work.now)
    for row in (await work.session.execute(statement)).scalars():
        await work.session.delete(row)
        work.publish("access_grant", row.id, None)
    await work.session.flush()
    question = select(func.count(Grant.id)).where(Grant.account_id == work.account_id)
    if (await work.session.execute(question)).scalar_one() >= MAX_GRANTS:
        raise Invalid(f"There are {MAX_GRANTS} grants already: wait until some end.", BAD_GRANT)


async def _token(work: Work, wanted: str) -> ServiceToken:
    statement = select(ServiceToken).where(
        ServiceToken.account_id == work.account_id, or_(ServiceToken.id == wanted, ServiceToken.name == wanted)
    )
    found = list((await work.session.execute(statement.limit(2))).scalars())
    if not found:
        raise NotFound(f"There is no service token {wanted[:100]!r}.", NO_GRANT)
    if len(found) > 1:
        raise Invalid(f"Several service tokens are called {wanted[:100]!r}: name one by its id.", BAD_GRANT)
    return found[0]


async def _guarding(work: Work, host: str, path: str) -> Application:
    known = Applications()
    rows: dict[str, Application] = {}
    statement = select(Application).where(Application.account_id == work.account_id)
    for row in (await work.session.execute(statement)).scalars():
        rows[row.id] = row
        known.put(parse_application(row.id, applications.edge_value(row)))
    met = known.met(host, path or "/")
    if not met:
        raise Invalid(
            f"No Access application stands for {host}, so everybody may read it: make one before anything is granted.",
            BAD_GRANT,
        )
    if len(met) > 1:
        raise Invalid("Several applications stand for that path: grant one that lies within one of them.", BAD_GRANT)
    return rows[met[0].id]


def _known(row: ServiceToken) -> Known:
    return Known(
        id=row.id, client_id=row.client_id, name=row.name, secrets=(), role=row.role, labels=frozenset(row.labels),
        owner=row.owner,
    )  # fmt: skip


def _audit(work: Work, row: Grant, action: str, description: str) -> None:
    told = {
        "id": row.id, "token_id": row.token_id, "token_name": row.token_name, "host": row.host, "path": row.path,
        "expires_at": row.expires_at.isoformat(),
    }  # fmt: skip
    work.audit(
        Entry(action=action, resource_type="access_grant", resource_id=row.id, description=description, response=told)
    )
