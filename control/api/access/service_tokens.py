"""Service tokens: `/accounts/{a}/access/service_tokens`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BeforeValidator, Field
from starlette.responses import JSONResponse

from pyconnector.control.api.context import Ctx, Paging, needs
from pyconnector.control.api.envelope import success, time_text
from pyconnector.control.api.fields import Body, Id, Moment, Name, Text, moment
from pyconnector.control.store.access import service_tokens
from pyconnector.control.store.access.service_tokens import Shown, TokenFields
from pyconnector.control.store.work import Work

READ, EDIT = [needs("access:read")], [needs("access:edit")]
router = APIRouter(tags=["Access service tokens"])
Labels = Annotated[list[Text], Field(max_length=100)]
Version = Annotated[float, Field(ge=1, le=1_000_000)]
GivenMoment = Annotated[Moment | None, BeforeValidator(moment)]
_PATH = "/accounts/{account_id}/access/service_tokens"


class NewServiceToken(Body):
    """A token to be made. `role`, `labels`, `owner` and `secret_form` are extensions."""

    name: Name
    duration: Text | None = None
    enabled: bool | None = None
    client_secret_version: Version | None = None
    previous_client_secret_expires_at: GivenMoment = None
    role: Text | None = None
    labels: Labels | None = None
    owner: Text | None = None
    secret_form: Literal["cfast", "hex"] = "cfast"


class ServiceTokenChanges(Body):
    """What is to be different."""

    name: Name | None = None
    duration: Text | None = None
    enabled: bool | None = None
    client_secret_version: Version | None = None
    previous_client_secret_expires_at: GivenMoment = None
    role: Text | None = None
    labels: Labels | None = None
    owner: Text | None = None


class Rotation(Body):
    """Until when the secret before still counts."""

    previous_client_secret_expires_at: GivenMoment = None


@router.get(_PATH, dependencies=READ)
async def list_service_tokens(
    context: Ctx, page: Paging, name: Text | None = None, search: Text | None = None
) -> JSONResponse:
    """List tokens, the oldest first; not their secrets, which nobody knows."""
    async with context.read() as session:
        found = await service_tokens.listed(session, context.account_id, page, name=name, search=search)
        seen = await service_tokens.last_seen(session, [row.id for row in found.rows])
    return success([_json(Shown(row=row, last_seen_at=seen.get(row.id))) for row in found.rows], found)


@router.post(_PATH, dependencies=EDIT)
async def create_service_token(context: Ctx, body: NewServiceToken) -> JSONResponse:
    """Make a token. The answer alone holds its secret."""
    fields = TokenFields(**body.model_dump(exclude={"secret_form"}))

    async def operation(work: Work) -> dict[str, Any]:
        return _json(await service_tokens.create(work, fields, body.secret_form))

    return success(await context.write(operation))


@router.get(_PATH + "/{token_id}", dependencies=READ)
async def get_service_token(context: Ctx, token_id: Id) -> JSONResponse:
    """Return a token without its secret."""
    async with context.read() as session:
        row = await service_tokens.find(session, context.account_id, token_id)
        seen = await service_tokens.last_seen(session, [row.id])
    return success(_json(Shown(row=row, last_seen_at=seen.get(row.id))))


@router.put(_PATH + "/{token_id}", dependencies=EDIT)
async def edit_service_token(context: Ctx, token_id: Id, body: ServiceTokenChanges) -> JSONResponse:
    """Change what the body names; `client_secret_version` one higher gives it a new secret."""
    fields = TokenFields(**body.model_dump())

    async def operation(work: Work) -> dict[str, Any]:
        return _json(await service_tokens.edit(work, token_id, fields))

    return success(await context.write(operation))


@router.post(_PATH + "/{token_id}/refresh", dependencies=EDIT)
async def refresh_service_token(context: Ctx, token_id: Id) -> JSONResponse:
    """Let a token live for its whole duration from now on."""

    async def operation(work: Work) -> dict[str, Any]:
        return _json(await service_tokens.refresh(work, token_id))

    return success(await context.write(operation))


@router.post(_PATH + "/{token_id}/rotate", dependencies=EDIT)
async def rotate_service_token(context: Ctx, token_id: Id, body: Rotation | None = None) -> JSONResponse:
    """Give a token a new secret. The old one dies at once unless the body names a moment."""
    until = None if body is None else body.previous_client_secret_expires_at

    async def operation(work: Work) -> dict[str, Any]:
        return _json(await service_tokens.rotate(work, token_id, until))

    return success(await context.write(operation))


@router.delete(_PATH + "/{token_id}", dependencies=EDIT)
async def delete_service_token(context: Ctx, token_id: Id) -> JSONResponse:
    """Delete a token."""

    async def operation(work: Work) -> dict[str, Any]:
        return _json(Shown(row=await service_tokens.remove(work, token_id)))

    return success(await context.write(operation))


def _json(shown: Shown) -> dict[str, Any]:
    row = shown.row
    told: dict[str, Any] = {
        "id": row.id,
        "name": row.name,
        "client_id": row.client_id,
        "duration": row.duration,
        "enabled": row.enabled,
        "expires_at": time_text(row.expires_at),
        "created_at": time_text(row.created_at),
        "updated_at": time_text(row.updated_at),
        "client_secret_version": row.secret_version,
        "previous_client_secret_expires_at": time_text(row.previous_expires_at),
        "role": row.role,
        "labels": row.labels,
        "owner": row.owner,
    }
    if shown.secret is not None:
        told["client_secret"] = shown.secret
    if shown.last_seen_at is not None:
        told["last_seen_at"] = time_text(shown.last_seen_at)
    return told
