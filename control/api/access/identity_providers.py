"""Identity providers: `/accounts/{a}/access/identity_providers`. The kinds `onetimepin` and `oidc` are served here."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import JSONResponse

from pyconnector.control.api.context import Ctx, Paging, needs
from pyconnector.control.api.envelope import success, time_text
from pyconnector.control.api.fields import Body, Id, Name
from pyconnector.control.store.access import providers
from pyconnector.control.store.access.tables import IdentityProvider
from pyconnector.control.store.work import Work

READ, EDIT = [needs("access:read")], [needs("access:edit")]
router = APIRouter(tags=["Access identity providers"])
_PATH = "/accounts/{account_id}/access/identity_providers"


class ProviderBody(Body):
    """A provider as it is to be. `config.issuer_url` is an extension: everything else is discovered there."""

    name: Name
    type: Literal["onetimepin", "oidc"]
    config: Annotated[dict[str, Any], Field(max_length=20)]


@router.get(_PATH, dependencies=READ)
async def list_providers(context: Ctx, page: Paging) -> JSONResponse:
    """List providers, the oldest first; without their secrets."""
    async with context.read() as session:
        found = await providers.listed(session, context.account_id, page)
    return success([_json(row) for row in found.rows], found)


@router.post(_PATH, dependencies=EDIT)
async def create_provider(context: Ctx, body: ProviderBody) -> JSONResponse:
    """Make a provider: people may log in by it from then on."""
    return await _put(context, None, body)


@router.get(_PATH + "/{provider_id}", dependencies=READ)
async def get_provider(context: Ctx, provider_id: Id) -> JSONResponse:
    """Return a provider without its secret."""
    async with context.read() as session:
        return success(_json(await providers.find(session, context.account_id, provider_id)))


@router.put(_PATH + "/{provider_id}", dependencies=EDIT)
async def replace_provider(context: Ctx, provider_id: Id, body: ProviderBody) -> JSONResponse:
    """Replace what a provider says. A secret that is sent as it is shown stays as it is."""
    return await _put(context, provider_id, body)


@router.delete(_PATH + "/{provider_id}", dependencies=EDIT)
async def delete_provider(context: Ctx, provider_id: Id) -> JSONResponse:
    """Delete a provider: the sessions that it began end."""

    async def operation(work: Work) -> dict[str, Any]:
        return {"id": (await providers.remove(work, provider_id)).id}

    return success(await context.write(operation))


async def _put(context: Ctx, provider_id: str | None, body: ProviderBody) -> JSONResponse:
    async def operation(work: Work) -> dict[str, Any]:
        return _json(await providers.put(work, provider_id, body.name, body.type, body.config))

    return success(await context.write(operation))


def _json(row: IdentityProvider) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "type": row.type,
        "config": providers.shown_config(row),
        "scim_config": {"enabled": False},
        "created_at": time_text(row.created_at),
        "updated_at": time_text(row.updated_at),
    }
