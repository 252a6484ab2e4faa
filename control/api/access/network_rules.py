"""Network rules, in a form of our own: `/accounts/{a}/network_rules`. What they mean is in docs/private-network.md."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import JSONResponse

from pyconnector.control.api.context import Ctx, Paging, needs
from pyconnector.control.api.envelope import success, time_text
from pyconnector.control.api.fields import Body, Id, Name, Text
from pyconnector.control.store.access import network_rules
from pyconnector.control.store.access.tables import NetworkRule
from pyconnector.control.store.work import Work

READ, EDIT = [needs("networks:read")], [needs("networks:edit")]
router = APIRouter(tags=["Network rules"])


class RuleBody(Body):
    """A whole rule. What is left out of the conditions means any."""

    action: Text
    name: Name | None = None
    precedence: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    enabled: bool = True
    tokens: list[Text] | None = None
    roles: list[Text] | None = None
    labels: list[Text] | None = None
    emails: list[Text] | None = None
    email_domains: list[Text] | None = None
    sources: list[Text] | None = None
    networks: list[Text] | None = None
    names: list[Text] | None = None
    ports: list[int | Text] | None = None
    protocols: list[Text] | None = None
    virtual_networks: list[Text] | None = None

    def rule(self) -> dict[str, Any]:
        """Return what the rule says, without its place."""
        return self.model_dump(exclude={"precedence", "enabled"}, exclude_none=True)


@router.get("/accounts/{account_id}/network_rules", dependencies=READ)
async def list_rules(context: Ctx, page: Paging) -> JSONResponse:
    """List rules in the order in which they are asked."""
    async with context.read() as session:
        found = await network_rules.listed(session, context.account_id, page)
    return success([_json(row) for row in found.rows], found)


@router.post("/accounts/{account_id}/network_rules", dependencies=EDIT)
async def create_rule(context: Ctx, body: RuleBody) -> JSONResponse:
    """Make a rule, behind all others where it names no precedence."""

    async def operation(work: Work) -> dict[str, Any]:
        row = await network_rules.create(work, body.rule(), precedence=body.precedence, enabled=body.enabled)
        return _json(row)

    return success(await context.write(operation))


@router.get("/accounts/{account_id}/network_rules/{rule_id}", dependencies=READ)
async def get_rule(context: Ctx, rule_id: Id) -> JSONResponse:
    """Return a rule."""
    async with context.read() as session:
        return success(_json(await network_rules.find(session, context.account_id, rule_id)))


@router.put("/accounts/{account_id}/network_rules/{rule_id}", dependencies=EDIT)
async def replace_rule(context: Ctx, rule_id: Id, body: RuleBody) -> JSONResponse:
    """Let a rule be as the body says."""

    async def operation(work: Work) -> dict[str, Any]:
        row = await network_rules.replace(work, rule_id, body.rule(), precedence=body.precedence, enabled=body.enabled)
        return _json(row)

    return success(await context.write(operation))


@router.delete("/accounts/{account_id}/network_rules/{rule_id}", dependencies=EDIT)
async def delete_rule(context: Ctx, rule_id: Id) -> JSONResponse:
    """Delete a rule: flows that it alone allowed end."""

    async def operation(work: Work) -> dict[str, Any]:
        return _json(await network_rules.remove(work, rule_id))

    return success(await context.write(operation))


def _json(row: NetworkRule) -> dict[str, Any]:
    return {
        **row.rule, "id": row.id, "precedence": row.precedence, "enabled": row.enabled,
        "created_at": time_text(row.created_at), "updated_at": time_text(row.updated_at),
    }  # fmt: skip
