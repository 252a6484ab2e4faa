"""Network rules: made, listed in their order, replaced, deleted. `identity.network_rules` says what they may say."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from pyconnector.control.store.access.rows import find_row, tell
from pyconnector.control.store.access.tables import NetworkRule
from pyconnector.control.store.errors import Invalid
from pyconnector.control.store.pages import Page, PageRequest, fetch_page
from pyconnector.identity.network_rules import MAX_RULES, RuleError, parse_rule

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from pyconnector.control.store.work import Work

NO_RULE, BAD_RULE = 12_140, 12_141
#: What a rule gets that says nothing of its place: behind all others, with room between.
STEP = 1_000


async def find(session: AsyncSession, account_id: str, rule_id: str) -> NetworkRule:
    """Return a rule. Cancel changes nothing.

    Raises:
        NotFound: there is none.
    """
    return await find_row(session, NetworkRule, account_id, rule_id, "network rule", NO_RULE)


async def listed(session: AsyncSession, account_id: str, page: PageRequest) -> Page[NetworkRule]:
    """Return a page of rules in the order in which they are asked. Cancel changes nothing."""
    statement = select(NetworkRule).where(NetworkRule.account_id == account_id)
    return await fetch_page(session, statement, page, NetworkRule.precedence, NetworkRule.id)


async def create(work: Work, rule: dict[str, Any], *, precedence: int | None, enabled: bool) -> NetworkRule:
    """Make a rule, behind all others where `precedence` is None. Cancel undoes it.

    Raises:
        Invalid: it makes no sense, or there are too many.
    """
    table = NetworkRule
    question = select(func.count(table.id), func.max(table.precedence)).where(table.account_id == work.account_id)
    count, last = (await work.session.execute(question)).one()
    if count >= MAX_RULES:
        raise Invalid(f"There are {MAX_RULES} network rules already, which is as many as there may be.", BAD_RULE)
    row = NetworkRule(
        id=str(uuid.uuid4()), account_id=work.account_id, enabled=enabled, created_at=work.now, updated_at=work.now,
        precedence=(last or 0) + STEP if precedence is None else precedence, rule={},
    )  # fmt: skip
    row.rule = _checked(row.id, rule)
    work.session.add(row)
    _changed(work, row, "create")
    return row


async def replace(
    work: Work, rule_id: str, rule: dict[str, Any], *, precedence: int | None, enabled: bool
) -> NetworkRule:
    """Let a rule be as given; its place stays where `precedence` is None. Cancel undoes it.

    Raises:
        NotFound: there is none.
        Invalid: it makes no sense.
    """
    row = await find(work.session, work.account_id, rule_id)
    row.rule, row.enabled = _checked(row.id, rule), enabled
    if precedence is not None:
        row.precedence = precedence
    _changed(work, row, "update")
    return row


async def remove(work: Work, rule_id: str) -> NetworkRule:
    """Delete a rule; flows that it alone allowed end. Cancel undoes it.

    Raises:
        NotFound: there is none.
    """
    row = await find(work.session, work.account_id, rule_id)
    await work.session.delete(row)
    tell(work, "network_rule", row.id, "delete", _what(row), None)
    return row


def edge_value(row: NetworkRule) -> dict[str, Any]:
    """Return what edges need to know."""
    return {"rule": row.rule, "precedence": row.precedence, "enabled": row.enabled}


def _checked(rule_id: str, rule: dict[str, Any]) -> dict[str, Any]:
    try:
        parse_rule(rule_id, rule)
    except RuleError as error:
        raise Invalid(str(error), BAD_RULE) from None
    return rule


def _changed(work: Work, row: NetworkRule, action: str) -> None:
    row.updated_at = work.now
    tell(work, "network_rule", row.id, action, _what(row), edge_value(row))


def _what(row: NetworkRule) -> str:
    return f"network rule {row.rule.get('name') or row.id}"
