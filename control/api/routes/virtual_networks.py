"""Virtual networks: `/accounts/{a}/teamnet/virtual_networks`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from starlette.responses import JSONResponse

from pyconnector.control.api.context import Ctx, Paging, needs
from pyconnector.control.api.envelope import success, time_text
from pyconnector.control.api.fields import Body, Id, Name, Text
from pyconnector.control.store.models import VirtualNetwork
from pyconnector.control.store.objects import virtual_networks
from pyconnector.control.store.work import Work

READ, EDIT = [needs("networks:read")], [needs("networks:edit")]
router = APIRouter(tags=["Virtual networks"])


class NewNetwork(Body):
    """A virtual network to be made. `is_default` is the older name of `is_default_network`."""

    name: Name
    comment: Text = ""
    is_default_network: bool | None = None
    is_default: bool | None = None


class NetworkChanges(Body):
    """What is to be different."""

    name: Name | None = None
    comment: Text | None = None
    is_default_network: bool | None = None
    is_default: bool | None = None


def _filter(
    id: Id | None = None,
    name: Text | None = None,
    is_default: bool | None = None,
    is_default_network: bool | None = None,
    is_deleted: bool | None = None,
) -> virtual_networks.NetworkFilter:
    return virtual_networks.NetworkFilter(
        id=id, name=name, is_default=is_default if is_default_network is None else is_default_network,
        is_deleted=is_deleted,
    )  # fmt: skip


@router.get("/accounts/{account_id}/teamnet/virtual_networks", dependencies=READ)
async def list_networks(
    context: Ctx, page: Paging, wanted: Annotated[virtual_networks.NetworkFilter, Depends(_filter)]
) -> JSONResponse:
    """List virtual networks, the oldest first."""
    async with context.read() as session:
        found = await virtual_networks.listed(session, context.account_id, wanted, page)
    return success([_json(network) for network in found.rows], found)


@router.post("/accounts/{account_id}/teamnet/virtual_networks", dependencies=EDIT)
async def create_network(context: Ctx, body: NewNetwork) -> JSONResponse:
    """Make a virtual network."""
    is_default = bool(body.is_default if body.is_default_network is None else body.is_default_network)

    async def operation(work: Work) -> dict[str, Any]:
        return _json(await virtual_networks.create(work, name=body.name, comment=body.comment, is_default=is_default))

    return success(await context.write(operation))


@router.get("/accounts/{account_id}/teamnet/virtual_networks/{network_id}", dependencies=READ)
async def get_network(context: Ctx, network_id: Id) -> JSONResponse:
    """Return a virtual network."""
    async with context.read() as session:
        return success(_json(await virtual_networks.find(session, context.account_id, network_id)))


@router.patch("/accounts/{account_id}/teamnet/virtual_networks/{network_id}", dependencies=EDIT)
async def edit_network(context: Ctx, network_id: Id, body: NetworkChanges) -> JSONResponse:
    """Change what the body names."""
    is_default = body.is_default if body.is_default_network is None else body.is_default_network

    async def operation(work: Work) -> dict[str, Any]:
        return _json(
            await virtual_networks.edit(work, network_id, name=body.name, comment=body.comment, is_default=is_default)
        )

    return success(await context.write(operation))


@router.delete("/accounts/{account_id}/teamnet/virtual_networks/{network_id}", dependencies=EDIT)
async def delete_network(context: Ctx, network_id: Id, force: bool = False) -> JSONResponse:
    """Delete a virtual network; with `force` its routes too."""

    async def operation(work: Work) -> dict[str, Any]:
        return _json(await virtual_networks.remove(work, network_id, force=force))

    return success(await context.write(operation))


def _json(network: VirtualNetwork) -> dict[str, Any]:
    return {
        "id": network.id,
        "name": network.name,
        "comment": network.comment,
        "is_default_network": network.is_default,
        "created_at": time_text(network.created_at),
        "deleted_at": time_text(network.deleted_at),
    }
