"""API tokens: `/user/tokens` and `/accounts/{a}/tokens`. Their scopes are permission groups, as clients know them."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BeforeValidator, Field
from starlette.responses import JSONResponse

from pyconnector.control.api.context import Ctx, Paging, needs
from pyconnector.control.api.envelope import success, time_text
from pyconnector.control.api.fields import Body, Hex, Moment, Name, Text, moment
from pyconnector.control.store.errors import Invalid
from pyconnector.control.store.models import ApiToken
from pyconnector.control.store.objects import tokens
from pyconnector.control.store.work import Work

EDIT = [needs("tokens:edit")]
router = APIRouter(tags=["API tokens"])
_SPACE = uuid.UUID("2f5b7f2e-6d0f-4b0e-9f1c-7f6a1a3f2f10")
#: The id of each scope as a permission group: the same everywhere.
GROUPS = {uuid.uuid5(_SPACE, scope).hex: scope for scope in tokens.SCOPES}


class Group(Body):
    """A scope, by the id that `permission_groups` lists."""

    id: Text
    name: Text | None = None
    meta: dict[str, Any] | None = None


class Policy(Body):
    """What a token may do. Resources are those of its account, whatever is said here."""

    id: Text | None = None
    effect: Literal["allow"]
    permission_groups: Annotated[list[Group], Field(min_length=1, max_length=50)]
    resources: Annotated[dict[str, Any], Field(default_factory=dict)]


class NewToken(Body):
    """A token to be made, of policies or simply of `scopes`."""

    name: Name
    scopes: Annotated[list[Text], Field(default_factory=list, max_length=50)]
    policies: Annotated[list[Policy], Field(default_factory=list, max_length=50)]
    expires_on: Annotated[Moment | None, BeforeValidator(moment)] = None


@router.get("/user/tokens/verify")
@router.get("/accounts/{account_id}/tokens/verify")
async def verify_token(context: Ctx) -> JSONResponse:
    """Say that the token is valid: another one does not come this far."""
    return success({"id": context.actor.token_id, "status": "active"})


@router.get("/user/tokens/permission_groups")
@router.get("/accounts/{account_id}/tokens/permission_groups")
async def list_permission_groups() -> JSONResponse:
    """List what a token may be allowed."""
    return success(
        [{"id": key, "name": tokens.SCOPES[scope], "scopes": [], "scope": scope} for key, scope in GROUPS.items()]
    )


@router.get("/user/tokens", dependencies=EDIT)
@router.get("/accounts/{account_id}/tokens", dependencies=EDIT)
async def list_tokens(context: Ctx, page: Paging) -> JSONResponse:
    """List tokens, the oldest first; not their values, which nobody knows."""
    async with context.read() as session:
        found = await tokens.listed(session, context.account_id, page)
    return success([_json(row) for row in found.rows], found)


@router.post("/user/tokens", dependencies=EDIT)
@router.post("/accounts/{account_id}/tokens", dependencies=EDIT)
async def create_token(context: Ctx, body: NewToken) -> JSONResponse:
    """Make a token. The answer alone holds its value."""
    scopes = tuple(body.scopes) + tuple(
        _scope(group.id) for policy in body.policies for group in policy.permission_groups
    )

    async def operation(work: Work) -> dict[str, Any]:
        made = await tokens.create(work, name=body.name, scopes=scopes, expires_at=body.expires_on)
        return _json(made.row) | {"value": made.text}

    return success(await context.write(operation))


@router.get("/user/tokens/{token_id}", dependencies=EDIT)
@router.get("/accounts/{account_id}/tokens/{token_id}", dependencies=EDIT)
async def get_token(context: Ctx, token_id: Hex) -> JSONResponse:
    """Return a token without its value."""
    async with context.read() as session:
        return success(_json(await tokens.find(session, context.account_id, token_id)))


@router.delete("/user/tokens/{token_id}", dependencies=EDIT)
@router.delete("/accounts/{account_id}/tokens/{token_id}", dependencies=EDIT)
async def delete_token(context: Ctx, token_id: Hex) -> JSONResponse:
    """Let a token be valid no more, at once."""

    async def operation(work: Work) -> dict[str, Any]:
        return {"id": (await tokens.remove(work, token_id)).id}

    return success(await context.write(operation))


def _scope(group_id: str) -> str:
    scope = GROUPS.get(group_id)
    if scope is None:
        raise Invalid("There is no such permission group; /user/tokens/permission_groups lists them.", tokens.BAD_TOKEN)
    return scope


def _json(row: ApiToken) -> dict[str, Any]:
    groups = {scope: key for key, scope in GROUPS.items()}
    told = [{"id": groups[scope], "name": tokens.SCOPES[scope]} for scope in row.scopes if scope in groups]
    return {
        "id": row.id,
        "name": row.name,
        "status": "active",
        "issued_on": time_text(row.created_at),
        "modified_on": time_text(row.created_at),
        "expires_on": time_text(row.expires_at),
        "policies": [{"id": row.id, "effect": "allow", "permission_groups": told, "resources": {}}],
        "scopes": row.scopes,
    }
