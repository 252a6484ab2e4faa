"""Identity providers: by what people log in."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from pyconnector.control.store.access import keys
from pyconnector.control.store.access.rows import find_row, record, tell
from pyconnector.control.store.access.tables import Application, Group, IdentityProvider, Policy
from pyconnector.control.store.errors import Conflict, Invalid
from pyconnector.control.store.pages import Page, PageRequest, fetch_page
from pyconnector.identity.people.providers import ONE_TIME_PIN, ProviderError, parse_provider

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from pyconnector.control.store.work import Work

NO_PROVIDER = 12_170
BAD_PROVIDER = 12_171
IN_USE = 12_172
#: What is shown in place of a client secret; sent back, it leaves the secret as it is.
HIDDEN = "**********"


async def find(session: AsyncSession, account_id: str, provider_id: str) -> IdentityProvider:
    """Return a provider. Cancel changes nothing.

    Raises:
        NotFound: there is none.
    """
    return await find_row(session, IdentityProvider, account_id, provider_id, "identity provider", NO_PROVIDER)


async def listed(session: AsyncSession, account_id: str, page: PageRequest) -> Page[IdentityProvider]:
    """Return a page of providers, the oldest first. Cancel changes nothing."""
    statement = select(IdentityProvider).where(IdentityProvider.account_id == account_id)
    return await fetch_page(session, statement, page, IdentityProvider.created_at, IdentityProvider.id)


async def put(work: Work, provider_id: str | None, name: str, kind: str, config: dict[str, Any]) -> IdentityProvider:
    """Make a provider, or replace what one of that id says. Cancel undoes it.

    Raises:
        NotFound: there is none of that id.
        Invalid: it makes no sense.
        Conflict: there is a one-time PIN already.
    """
    row = None if provider_id is None else await find(work.session, work.account_id, provider_id)
    await keys.ensure(work)
    if config.get("client_secret") == HIDDEN:
        config = config | {"client_secret": "" if row is None else row.config.get("client_secret", "")}
    try:
        parse_provider("", {"name": name, "type": kind, "config": config})
    except ProviderError as error:
        raise Invalid(str(error), BAD_PROVIDER) from None
    if row is not None and row.type != kind:
        raise Invalid("An identity provider stays of its type: make another one.", BAD_PROVIDER)
    if row is None and kind == ONE_TIME_PIN:
        mine = select(IdentityProvider).where(IdentityProvider.account_id == work.account_id)
        if any(other.type == ONE_TIME_PIN for other in (await work.session.execute(mine)).scalars()):
            raise Conflict("There is a one-time PIN already, and one is enough.", BAD_PROVIDER)
    if row is not None:
        # Where nobody is known to have it any more, a rule that keeps people out would let them in.
        kept = config.get("claims") or ()
        for other, rule in await _rules(work):
            if (claim := _claim(rule, row.id)) is not None and claim not in kept:
                raise Conflict(f"{other} asks for the claim {claim}, of which nothing would be kept.", IN_USE)
    action = "create" if row is None else "update"
    if row is None:
        row = IdentityProvider(id=str(uuid.uuid4()), account_id=work.account_id, type=kind, created_at=work.now)
        work.session.add(row)
    row.name, row.config, row.updated_at = name, config, work.now
    shown = {"id": row.id, "name": row.name, "type": row.type, "config": shown_config(row)}
    work.publish("access_identity_provider", row.id, edge_value(row))
    record(work, "access_identity_provider", row.id, action, f"identity provider {row.name}", shown)
    return row


async def remove(work: Work, provider_id: str) -> IdentityProvider:
    """Delete a provider, and with it every session that it began. Cancel undoes it.

    Raises:
        NotFound: there is none.
        Conflict: an application, a policy or a group refers to it.
    """
    row = await find(work.session, work.account_id, provider_id)
    mine = work.account_id
    for application in (
        await work.session.execute(select(Application).where(Application.account_id == mine))
    ).scalars():
        if provider_id in application.allowed_idps:
            raise Conflict(f"The application {application.name} refers to this identity provider.", IN_USE)
    for other, rule in await _rules(work):
        if rule.get("login_method") == {"id": provider_id} or _claim(rule, provider_id) is not None:
            raise Conflict(f"{other} refers to this identity provider.", IN_USE)
    await work.session.delete(row)
    tell(work, "access_identity_provider", row.id, "delete", f"identity provider {row.name}", None)
    return row


async def _rules(work: Work) -> list[tuple[str, dict[str, Any]]]:
    """Return every rule of a policy or group, with the name of that."""
    mine = work.account_id
    policies = (await work.session.execute(select(Policy).where(Policy.account_id == mine))).scalars()
    groups = (await work.session.execute(select(Group).where(Group.account_id == mine))).scalars()
    found: list[Policy | Group] = [*policies, *groups]
    return [(each.name, rule) for each in found for rule in (*each.include, *each.require, *each.exclude)]


def _claim(rule: dict[str, Any], provider_id: str) -> str | None:
    """Return the claim of a provider that a rule asks for."""
    asked = rule.get("oidc")
    return asked["claim_name"] if asked and asked["identity_provider_id"] == provider_id else None


def edge_value(row: IdentityProvider) -> dict[str, Any]:
    """Return what edges need to know: with its client secret, since they ask for tokens with it."""
    return {"name": row.name, "type": row.type, "config": row.config}


def shown_config(row: IdentityProvider) -> dict[str, Any]:
    """Return the config without its secret."""
    hidden = {"client_secret": HIDDEN} if row.config.get("client_secret") else {}
    return row.config | hidden
