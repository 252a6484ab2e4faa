"""API tokens: what each may do, made and checked. The token itself is shown once and never stored."""

from __future__ import annotations

import datetime
import hashlib
import secrets
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from pyconnector.control.store.errors import Invalid, NotFound
from pyconnector.control.store.models import ApiToken
from pyconnector.control.store.pages import Page, PageRequest, fetch_page
from pyconnector.control.store.work import Actor, Entry

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from pyconnector.control.store.work import Work

#: What a token may be allowed, and how a person calls it.
SCOPES = {
    "tunnels:read": "Cloudflare Tunnel Read",
    "tunnels:edit": "Cloudflare Tunnel Write",
    "dns:read": "DNS Read",
    "dns:edit": "DNS Write",
    "networks:read": "Private Networks Read",
    "networks:edit": "Private Networks Write",
    "access:read": "Access: Apps and Policies Read",
    "access:edit": "Access: Apps and Policies Write",
    "audit:read": "Audit Logs Read",
    "logs:read": "Logs Read",
    "logs:edit": "Logs Write",
    "tokens:edit": "API Tokens Write",
    "edge": "Edge of this mesh",
}
#: What the token of a `cert.pem` may do: all that `cloudflared tunnel` asks for.
CLIENT_SCOPES = ("tunnels:read", "tunnels:edit", "dns:read", "dns:edit", "networks:read", "networks:edit")
#: What a person's first token may do: everything but being an edge, which is told every tunnel.
FIRST_SCOPES = tuple(scope for scope in SCOPES if scope != "edge")
_BYTES = 30
NO_TOKEN = 1002
BAD_TOKEN = 1001


@dataclass(frozen=True, slots=True, kw_only=True)
class NewToken:
    """A token just made, with its text."""

    row: ApiToken
    text: str

    def __repr__(self) -> str:
        return f"<NewToken {self.row.id}>"


async def verify(session: AsyncSession, text: str, now: datetime.datetime) -> ApiToken | None:
    """Return the token that `text` is, unless it is none or has expired. Cancel changes nothing."""
    return await by_digest(session, digest(text), now)


async def by_digest(session: AsyncSession, held: str, now: datetime.datetime) -> ApiToken | None:
    """Return the token of a digest, unless it is none or has expired. Cancel changes nothing."""
    row = (await session.execute(select(ApiToken).where(ApiToken.digest == held))).scalar_one_or_none()
    if row is None or (row.expires_at is not None and row.expires_at <= now):
        return None
    return row


def digest(text: str) -> str:
    """Return what is stored of a token. It is random and long, so a plain hash does."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


async def create(
    work: Work, *, name: str, scopes: tuple[str, ...], expires_at: datetime.datetime | None = None
) -> NewToken:
    """Make a token. Nobody gets one that may do more than their own. Cancel undoes it.

    Raises:
        Invalid: a scope is unknown, or the asker has not got it, or it has expired already.
    """
    for scope in scopes:
        if scope not in SCOPES:
            raise Invalid(f"There is no scope {scope!r}.", BAD_TOKEN)
        if work.actor.token_id and scope not in work.actor.scopes:
            raise Invalid(f"Your token has no scope {scope}, so it cannot give it to another.", BAD_TOKEN)
    if not scopes:
        raise Invalid("A token needs a scope: it could do nothing.", BAD_TOKEN)
    if expires_at is not None and expires_at <= work.now:
        raise Invalid("The token would have expired already.", BAD_TOKEN)
    text = secrets.token_urlsafe(_BYTES)
    row = ApiToken(
        id=uuid.uuid4().hex, account_id=work.account_id, name=name, digest=digest(text),
        scopes=sorted(set(scopes)), created_at=work.now, expires_at=expires_at,
    )  # fmt: skip
    work.session.add(row)
    work.audit(
        Entry(
            action="create", resource_type="api_token", resource_id=row.id, description=f"Created token {name}",
            response={"id": row.id, "name": name, "scopes": row.scopes},
        )
    )  # fmt: skip
    return NewToken(row=row, text=text)


async def find(session: AsyncSession, account_id: str, token_id: str) -> ApiToken:
    """Return a token. Cancel changes nothing.

    Raises:
        NotFound: there is none.
    """
    row = await session.get(ApiToken, token_id)
    if row is None or row.account_id != account_id:
        raise NotFound("There is no token of that id.", NO_TOKEN)
    return row


async def listed(session: AsyncSession, account_id: str, page: PageRequest) -> Page[ApiToken]:
    """Return a page of tokens, the oldest first. Cancel changes nothing."""
    statement = select(ApiToken).where(ApiToken.account_id == account_id)
    return await fetch_page(session, statement, page, ApiToken.created_at, ApiToken.id)


async def remove(work: Work, token_id: str) -> ApiToken:
    """Let a token be valid no more. Cancel undoes it.

    Raises:
        NotFound: there is none.
    """
    row = await find(work.session, work.account_id, token_id)
    await work.session.delete(row)
    work.audit(
        Entry(action="delete", resource_type="api_token", resource_id=row.id, description=f"Deleted token {row.name}")
    )
    return row


def actor_of(row: ApiToken) -> Actor:
    """Return who acts with a token."""
    return Actor(account_id=row.account_id, token_id=row.id, token_name=row.name, scopes=frozenset(row.scopes))
