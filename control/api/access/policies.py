"""Policies and groups: `/accounts/{a}/access/policies` and `/accounts/{a}/access/groups`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import JSONResponse

from pyconnector.control.api.context import Ctx, Paging, needs
from pyconnector.control.api.envelope import success, time_text
from pyconnector.control.api.fields import Body, Id, Name, Text
from pyconnector.control.store.access import conditions
from pyconnector.control.store.access.conditions import ConditionFields
from pyconnector.control.store.access.tables import Group, Policy
from pyconnector.control.store.work import Work

READ, EDIT = [needs("access:read")], [needs("access:edit")]
router = APIRouter(tags=["Access policies"])
Rules = Annotated[list[dict[str, Any]], Field(default_factory=list, max_length=100)]
_POLICIES, _GROUPS = "/accounts/{account_id}/access/policies", "/accounts/{account_id}/access/groups"


class PolicyBody(Body):
    """A policy as it is to be."""

    name: Name
    decision: Literal["allow", "deny", "non_identity", "bypass"]
    include: Rules
    require: Rules
    exclude: Rules
    session_duration: Text | None = None


class GroupBody(Body):
    """A group as it is to be."""

    name: Name
    include: Rules
    require: Rules
    exclude: Rules
    is_default: Literal[False] = False


@router.get(_POLICIES, dependencies=READ)
async def list_policies(context: Ctx, page: Paging) -> JSONResponse:
    """List policies, the oldest first."""
    async with context.read() as session:
        found = await conditions.list_policies(session, context.account_id, page)
        used = await conditions.applications_of(session, context.account_id)
    return success([policy_json(row, len(used.get(row.id, ()))) for row in found.rows], found)


@router.post(_POLICIES, dependencies=EDIT)
async def create_policy(context: Ctx, body: PolicyBody) -> JSONResponse:
    """Make a policy."""
    return await _put_policy(context, None, body)


@router.get(_POLICIES + "/{policy_id}", dependencies=READ)
async def get_policy(context: Ctx, policy_id: Id) -> JSONResponse:
    """Return a policy."""
    async with context.read() as session:
        row = await conditions.find_policy(session, context.account_id, policy_id)
        used = await conditions.applications_of(session, context.account_id)
    return success(policy_json(row, len(used.get(row.id, ()))))


@router.put(_POLICIES + "/{policy_id}", dependencies=EDIT)
async def replace_policy(context: Ctx, policy_id: Id, body: PolicyBody) -> JSONResponse:
    """Replace what a policy says. Edges know within a second, for what runs already too."""
    return await _put_policy(context, policy_id, body)


@router.delete(_POLICIES + "/{policy_id}", dependencies=EDIT)
async def delete_policy(context: Ctx, policy_id: Id) -> JSONResponse:
    """Delete a policy that no application has."""

    async def operation(work: Work) -> dict[str, Any]:
        return {"id": (await conditions.remove_policy(work, policy_id)).id}

    return success(await context.write(operation))


@router.get(_GROUPS, dependencies=READ)
async def list_groups(context: Ctx, page: Paging, name: Text | None = None) -> JSONResponse:
    """List groups, the oldest first."""
    async with context.read() as session:
        found = await conditions.list_groups(session, context.account_id, page, name)
    return success([_group_json(row) for row in found.rows], found)


@router.post(_GROUPS, dependencies=EDIT)
async def create_group(context: Ctx, body: GroupBody) -> JSONResponse:
    """Make a group."""
    return await _put_group(context, None, body)


@router.get(_GROUPS + "/{group_id}", dependencies=READ)
async def get_group(context: Ctx, group_id: Id) -> JSONResponse:
    """Return a group."""
    async with context.read() as session:
        return success(_group_json(await conditions.find_group(session, context.account_id, group_id)))


@router.put(_GROUPS + "/{group_id}", dependencies=EDIT)
async def replace_group(context: Ctx, group_id: Id, body: GroupBody) -> JSONResponse:
    """Replace what a group says."""
    return await _put_group(context, group_id, body)


@router.delete(_GROUPS + "/{group_id}", dependencies=EDIT)
async def delete_group(context: Ctx, group_id: Id) -> JSONResponse:
    """Delete a group that nothing refers to."""

    async def operation(work: Work) -> dict[str, Any]:
        return {"id": (await conditions.remove_group(work, group_id)).id}

    return success(await context.write(operation))


async def _put_policy(context: Ctx, policy_id: str | None, body: PolicyBody) -> JSONResponse:
    fields = ConditionFields(**body.model_dump())

    async def operation(work: Work) -> dict[str, Any]:
        row = await conditions.put_policy(work, policy_id, fields)
        used = await conditions.applications_of(work.session, work.account_id)
        return policy_json(row, len(used.get(row.id, ())))

    return success(await context.write(operation))


async def _put_group(context: Ctx, group_id: str | None, body: GroupBody) -> JSONResponse:
    fields = ConditionFields(**body.model_dump(exclude={"is_default"}))

    async def operation(work: Work) -> dict[str, Any]:
        return _group_json(await conditions.put_group(work, group_id, fields))

    return success(await context.write(operation))


def policy_json(row: Policy, application_count: int) -> dict[str, Any]:
    """Return a policy as clients know it."""
    return {
        "id": row.id,
        "name": row.name,
        "decision": row.decision,
        "include": row.include,
        "require": row.require,
        "exclude": row.exclude,
        "session_duration": row.session_duration or "24h",
        "reusable": True,
        "app_count": application_count,
        "revision": row.revision,
        "created_at": time_text(row.created_at),
        "updated_at": time_text(row.updated_at),
    }


def _group_json(row: Group) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "include": row.include,
        "require": row.require,
        "exclude": row.exclude,
        "is_default": [],
        "created_at": time_text(row.created_at),
        "updated_at": time_text(row.updated_at),
    }
