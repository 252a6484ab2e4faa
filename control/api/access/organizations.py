"""The organization and its signing keys: `/accounts/{a}/access/organizations` and `/accounts/{a}/access/keys`."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import JSONResponse

from pyconnector.control.api.context import Ctx, needs
from pyconnector.control.api.envelope import success, time_text
from pyconnector.control.api.fields import Body, Name, Text
from pyconnector.control.store.access import keys, organization, people
from pyconnector.control.store.access.organization import MAX_ROTATION, MIN_ROTATION, OrganizationFields
from pyconnector.control.store.access.tables import Organization
from pyconnector.control.store.work import Work

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

READ, EDIT = [needs("access:read")], [needs("access:edit")]
router = APIRouter(tags=["Access organization"])
_ORGANIZATION, _KEYS = "/accounts/{account_id}/access/organizations", "/accounts/{account_id}/access/keys"


class OrganizationBody(Body):
    """What is to be different. Strict is the only way in which service tokens are read here."""

    name: Name | None = None
    auth_domain: Text | None = None
    session_duration: Text | None = None
    deny_unmatched_requests: bool | None = None
    strict_service_token_auth: Literal[True] | None = None


class Revocation(Body):
    """Whose sessions end. There are no devices here, so nothing else can be revoked with them."""

    email: Text
    devices: Literal[False] = False
    user_uid: Text | None = None
    warp_session_reauth: Literal[False] = False


class KeysBody(Body):
    """After how many days another key signs."""

    key_rotation_interval_days: Annotated[float, Field(ge=MIN_ROTATION, le=MAX_ROTATION)]


@router.get(_ORGANIZATION, dependencies=READ)
async def get_organization(context: Ctx) -> JSONResponse:
    """Return the organization, which is there from the first look at it on."""

    async def operation(work: Work) -> dict[str, Any]:
        return _json(await organization.ensure(work))

    async with context.read() as session:
        row = await organization.find(session, context.account_id)
    return success(await context.write(operation) if row is None else _json(row))


@router.post(_ORGANIZATION, dependencies=EDIT)
@router.put(_ORGANIZATION, dependencies=EDIT)
async def edit_organization(context: Ctx, body: OrganizationBody) -> JSONResponse:
    """Change what the body names."""
    fields = OrganizationFields(**body.model_dump(exclude={"strict_service_token_auth"}))

    async def operation(work: Work) -> dict[str, Any]:
        return _json(await organization.edit(work, fields))

    return success(await context.write(operation))


@router.post(_ORGANIZATION + "/revoke_user", dependencies=EDIT)
async def revoke_user(context: Ctx, body: Revocation) -> JSONResponse:
    """Let every session of a person be worth nothing, at every edge within a second."""

    async def operation(work: Work) -> bool:
        await people.revoke(work, body.email)
        return True

    return success(await context.write(operation))


@router.get(_KEYS, dependencies=READ)
async def get_keys(context: Ctx) -> JSONResponse:
    """Say when the signing key was changed last, and when it will be."""
    async with context.read() as session:
        return success(await _keys_json(session, context))


@router.put(_KEYS, dependencies=EDIT)
async def edit_keys(context: Ctx, body: KeysBody) -> JSONResponse:
    """Set after how many days another key signs."""

    async def operation(work: Work) -> dict[str, Any]:
        fields = OrganizationFields(key_rotation_interval_days=int(body.key_rotation_interval_days))
        await organization.edit(work, fields)
        await keys.ensure(work)
        return await _keys_json(work.session, context)

    return success(await context.write(operation))


@router.post(_KEYS + "/rotate", dependencies=EDIT)
async def rotate_keys(context: Ctx) -> JSONResponse:
    """Sign with the key that was published ahead; what the one before signed is taken for a week."""

    async def operation(work: Work) -> dict[str, Any]:
        await keys.rotate(work)
        return await _keys_json(work.session, context)

    return success(await context.write(operation))


async def _keys_json(session: AsyncSession, context: Ctx) -> dict[str, Any]:
    since = await keys.current_since(session, context.account_id)
    row = await organization.find(session, context.account_id)
    interval = organization.DEFAULT_ROTATION if row is None else row.key_rotation_interval_days
    left = None
    if since is not None:
        left = max(0, (since + datetime.timedelta(days=interval) - context.now).days)
    return {
        "days_until_next_rotation": left,
        "key_rotation_interval_days": interval,
        "last_key_rotation_at": time_text(since),
    }


def _json(row: Organization) -> dict[str, Any]:
    return {
        "name": row.name,
        "auth_domain": row.auth_domain,
        "session_duration": row.session_duration,
        "deny_unmatched_requests": row.deny_unmatched_requests,
        "strict_service_token_auth": True,
        "created_at": time_text(row.created_at),
        "updated_at": time_text(row.updated_at),
    }
