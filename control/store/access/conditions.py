"""Policies and groups, which both are conditions with a name; and what they refer to."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from pyconnector.control.store.access.durations import seconds_of
from pyconnector.control.store.access.rows import find_row, tell
from pyconnector.control.store.access.tables import Application, Group, IdentityProvider, Policy, ServiceToken
from pyconnector.control.store.errors import Conflict, Invalid
from pyconnector.control.store.pages import Page, PageRequest, fetch_page
from pyconnector.identity.policies.policy import Effect, check_effect, parse_policy
from pyconnector.identity.policies.rules import (
    MAX_DEPTH,
    Conditions,
    InGroup,
    LoginMethod,
    OidcClaim,
    OneServiceToken,
    PolicyError,
)
from pyconnector.identity.policies.rules import parse_conditions as parse

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from pyconnector.control.store.work import Work

NO_POLICY = 12_150
BAD_POLICY = 12_151
NO_GROUP = 12_160
IN_USE = 12_161
Rules = list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionFields:
    """The whole of a policy or group as it is to be; `decision` and `session_duration` are a policy's."""

    name: str
    include: Rules
    require: Rules
    exclude: Rules
    decision: str = ""
    session_duration: str | None = None


async def find_policy(session: AsyncSession, account_id: str, policy_id: str) -> Policy:
    """Return a policy. Cancel changes nothing.

    Raises:
        NotFound: there is none.
    """
    return await find_row(session, Policy, account_id, policy_id, "Access policy", NO_POLICY)


async def find_group(session: AsyncSession, account_id: str, group_id: str) -> Group:
    """Return a group. Cancel changes nothing.

    Raises:
        NotFound: there is none.
    """
    return await find_row(session, Group, account_id, group_id, "Access group", NO_GROUP)


async def list_policies(session: AsyncSession, account_id: str, page: PageRequest) -> Page[Policy]:
    """Return a page of policies, the oldest first. Cancel changes nothing."""
    statement = select(Policy).where(Policy.account_id == account_id)
    return await fetch_page(session, statement, page, Policy.created_at, Policy.id)


async def list_groups(session: AsyncSession, account_id: str, page: PageRequest, name: str | None) -> Page[Group]:
    """Return a page of groups, the oldest first. Cancel changes nothing."""
    statement = select(Group).where(Group.account_id == account_id)
    if name is not None:
        statement = statement.where(Group.name == name)
    return await fetch_page(session, statement, page, Group.created_at, Group.id)


async def put_policy(work: Work, policy_id: str | None, fields: ConditionFields) -> Policy:
    """Make a policy, or replace what one of that id says. Cancel undoes it.

    Raises:
        NotFound: there is none of that id.
        Invalid: it makes no sense, or refers to what is not there.
    """
    row = None if policy_id is None else await find_policy(work.session, work.account_id, policy_id)
    value = {"name": fields.name, "decision": fields.decision, **_rules(fields)}
    try:
        parsed = parse_policy(policy_id or "", value)
    except PolicyError as error:
        raise Invalid(str(error), BAD_POLICY) from None
    await _check_references(work, parsed.conditions, effect=parsed.effect)
    if fields.session_duration is not None:
        seconds_of(fields.session_duration, BAD_POLICY)
    action = "create" if row is None else "update"
    if row is None:
        row = Policy(id=str(uuid.uuid4()), account_id=work.account_id, revision=0, created_at=work.now)
        work.session.add(row)
    row.name, row.decision, row.session_duration = fields.name, fields.decision, fields.session_duration
    row.include, row.require, row.exclude = fields.include, fields.require, fields.exclude
    row.revision, row.updated_at = row.revision + 1, work.now
    tell(work, "access_policy", row.id, action, f"access policy {row.name}", policy_value(row))
    return row


async def put_group(work: Work, group_id: str | None, fields: ConditionFields) -> Group:
    """Make a group, or replace what one of that id says. Cancel undoes it.

    Raises:
        NotFound: there is none of that id.
        Invalid: it makes no sense, refers to what is not there, or to itself.
    """
    row = None if group_id is None else await find_group(work.session, work.account_id, group_id)
    try:
        conditions = parse(_rules(fields))
    except PolicyError as error:
        raise Invalid(str(error), BAD_POLICY) from None
    await _check_references(work, conditions, within=group_id)
    action = "create" if row is None else "update"
    if row is None:
        row = Group(id=str(uuid.uuid4()), account_id=work.account_id, created_at=work.now)
        work.session.add(row)
    row.name, row.updated_at = fields.name, work.now
    row.include, row.require, row.exclude = fields.include, fields.require, fields.exclude
    tell(work, "access_group", row.id, action, f"access group {row.name}", group_value(row))
    return row


async def remove_policy(work: Work, policy_id: str) -> Policy:
    """Delete a policy. Cancel undoes it.

    Raises:
        NotFound: there is none.
        Conflict: an application has it.
    """
    row = await find_policy(work.session, work.account_id, policy_id)
    if used := (await applications_of(work.session, work.account_id)).get(policy_id):
        raise Conflict(f"The application {used[0].name} has this policy.", IN_USE)
    await work.session.delete(row)
    tell(work, "access_policy", row.id, "delete", f"access policy {row.name}", None)
    return row


async def remove_group(work: Work, group_id: str) -> Group:
    """Delete a group. Cancel undoes it.

    Raises:
        NotFound: there is none.
        Conflict: a policy or another group refers to it.
    """
    row = await find_group(work.session, work.account_id, group_id)
    mine = work.account_id
    policies = (await work.session.execute(select(Policy).where(Policy.account_id == mine))).scalars()
    groups = (await work.session.execute(select(Group).where(Group.account_id == mine))).scalars()
    for other in (*policies, *groups):
        if any(rule.get("group") == {"id": group_id} for rule in (*other.include, *other.require, *other.exclude)):
            raise Conflict(f"{other.name} refers to this group.", IN_USE)
    await work.session.delete(row)
    tell(work, "access_group", row.id, "delete", f"access group {row.name}", None)
    return row


async def applications_of(session: AsyncSession, account_id: str) -> dict[str, list[Application]]:
    """Return the applications of each policy that any has. Cancel changes nothing."""
    found: dict[str, list[Application]] = {}
    for row in (await session.execute(select(Application).where(Application.account_id == account_id))).scalars():
        for policy_id in row.policies:
            found.setdefault(policy_id, []).append(row)
    return found


def policy_value(row: Policy) -> dict[str, Any]:
    """Return what edges need to know of a policy."""
    seconds = None if row.session_duration is None else seconds_of(row.session_duration, BAD_POLICY)
    return {
        "name": row.name, "decision": row.decision, "revision": row.revision, "session_seconds": seconds,
        "include": row.include, "require": row.require, "exclude": row.exclude,
    }  # fmt: skip


def group_value(row: Group) -> dict[str, Any]:
    """Return what edges need to know of a group."""
    return {"name": row.name, "include": row.include, "require": row.require, "exclude": row.exclude}


def _rules(fields: ConditionFields) -> dict[str, Rules]:
    return {"include": fields.include, "require": fields.require, "exclude": fields.exclude}


async def _check_references(
    work: Work, conditions: Conditions, *, within: str | None = None, effect: Effect | None = None, depth: int = 0
) -> None:
    if depth > MAX_DEPTH:
        raise Invalid(f"Groups may lie {MAX_DEPTH} deep in each other at most.", BAD_POLICY)
    for rule in conditions.all:
        if isinstance(rule, OneServiceToken):
            token = await work.session.get(ServiceToken, rule.token_id)
            if token is None or token.account_id != work.account_id:
                raise Invalid(
                    f"There is no service token of the id {rule.token_id!r}: token_id is the id of the object, "
                    "not its client_id.",
                    BAD_POLICY,
                )
        elif isinstance(rule, LoginMethod | OidcClaim):
            await _check_provider(work, rule)
        elif isinstance(rule, InGroup):
            if rule.group_id == within:
                raise Invalid("The group would be part of itself.", BAD_POLICY)
            group = await work.session.get(Group, rule.group_id)
            if group is None or group.account_id != work.account_id:
                raise Invalid(f"There is no group of the id {rule.group_id!r}.", BAD_POLICY)
            inner = parse(group_value(group))
            await _check_references(work, inner, within=within, effect=effect, depth=depth + 1)
            if effect is not None:
                try:
                    check_effect(effect, inner)
                except PolicyError as error:
                    raise Invalid(f"The group {group.name}: {error}", BAD_POLICY) from None


async def _check_provider(work: Work, rule: LoginMethod | OidcClaim) -> None:
    provider = await work.session.get(IdentityProvider, rule.provider_id)
    if provider is None or provider.account_id != work.account_id:
        raise Invalid(f"There is no identity provider of the id {rule.provider_id!r}.", BAD_POLICY)
    if isinstance(rule, OidcClaim) and rule.name not in (provider.config.get("claims") or ()):
        raise Invalid(
            f"Nothing is kept of the claim {rule.name!r}: name it in config.claims of {provider.name}.", BAD_POLICY
        )
