"""Networks that tunnels serve: `/accounts/{a}/teamnet/routes`."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from sqlalchemy import select
from starlette.responses import JSONResponse

from pyconnector.control.api.context import Ctx, Paging, needs
from pyconnector.control.api.envelope import success, time_text
from pyconnector.control.api.fields import Body, Id, Moment, Text
from pyconnector.control.store.models import IpRoute, Tunnel, VirtualNetwork
from pyconnector.control.store.objects import ip_routes, virtual_networks
from pyconnector.control.store.work import Work

READ, EDIT = [needs("networks:read")], [needs("networks:edit")]
router = APIRouter(tags=["IP routes"])


class NewRoute(Body):
    """A route to be made."""

    network: Text
    tunnel_id: Id
    comment: Text = ""
    virtual_network_id: Id | None = None


class RouteChanges(Body):
    """What is to be different."""

    network: Text | None = None
    tunnel_id: Id | None = None
    comment: Text | None = None
    virtual_network_id: Id | None = None


def _filter(
    comment: Text | None = None,
    existed_at: Moment | None = None,
    is_deleted: bool | None = None,
    network_subset: Text | None = None,
    network_superset: Text | None = None,
) -> ip_routes.RouteFilter:
    subset = None if network_subset is None else ip_routes.parse_network(network_subset)
    superset = None if network_superset is None else ip_routes.parse_network(network_superset)
    return ip_routes.RouteFilter(
        comment=comment, existed_at=existed_at, is_deleted=is_deleted, network_subset=subset, network_superset=superset
    )


def _ids(
    route_id: Id | None = None, tunnel_id: Id | None = None, virtual_network_id: Id | None = None
) -> dict[str, str | None]:
    return {"route_id": route_id, "tunnel_id": tunnel_id, "virtual_network_id": virtual_network_id}


@router.get("/accounts/{account_id}/teamnet/routes", dependencies=READ)
async def list_routes(
    context: Ctx,
    page: Paging,
    wanted: Annotated[ip_routes.RouteFilter, Depends(_filter)],
    ids: Annotated[dict[str, str | None], Depends(_ids)],
    tun_types: Text | None = None,
) -> JSONResponse:
    """List routes by address."""
    if tun_types is not None and "cfd_tunnel" not in tun_types.split(","):
        return success([], info={"count": 0, "page": page.page, "per_page": page.per_page, "total_count": 0})
    complete = replace(wanted, **ids)  # type: ignore[arg-type]  # the keys are fields
    async with context.read() as session:
        found = await ip_routes.listed(session, context.account_id, complete, page)
        named = select(Tunnel).where(Tunnel.id.in_({route.tunnel_id for route in found.rows}))
        tunnels = {tunnel.id: tunnel.name for tunnel in (await session.execute(named)).scalars()}
        ids_of_networks = {route.virtual_network_id for route in found.rows}
        networks = select(VirtualNetwork).where(VirtualNetwork.id.in_(ids_of_networks))
        names = {network.id: network.name for network in (await session.execute(networks)).scalars()}
    told = [_detailed(row, tunnels[row.tunnel_id], names[row.virtual_network_id]) for row in found.rows]
    return success(told, found)


@router.post("/accounts/{account_id}/teamnet/routes", dependencies=EDIT)
async def create_route(context: Ctx, body: NewRoute) -> JSONResponse:
    """Make a route."""

    async def operation(work: Work) -> dict[str, Any]:
        return _json(
            await ip_routes.create(
                work, network=body.network, tunnel_id=body.tunnel_id, virtual_network_id=body.virtual_network_id,
                comment=body.comment,
            )
        )  # fmt: skip

    return success(await context.write(operation))


@router.get("/accounts/{account_id}/teamnet/routes/ip/{address}", dependencies=READ)
async def route_of_address(
    context: Ctx,
    address: Text,
    virtual_network_id: Id | None = None,
    default_virtual_network_fallback: bool = False,
) -> JSONResponse:
    """Return the route that an address takes; an empty object where none does."""
    account = context.account_id
    async with context.read() as session:
        if virtual_network_id is not None:
            await virtual_networks.find(session, account, virtual_network_id)
        route = await ip_routes.for_address(session, account, address, virtual_network_id)
        if route is None and default_virtual_network_fallback:
            route = await ip_routes.for_address(session, account, address, None)
        if route is None:
            return success({})
        tunnel = await session.get_one(Tunnel, route.tunnel_id)
        network = await session.get_one(VirtualNetwork, route.virtual_network_id)
    return success(_detailed(route, tunnel.name, network.name))


@router.get("/accounts/{account_id}/teamnet/routes/{route_id}", dependencies=READ)
async def get_route(context: Ctx, route_id: Id) -> JSONResponse:
    """Return a route."""
    async with context.read() as session:
        return success(_json(await ip_routes.find(session, context.account_id, route_id)))


@router.patch("/accounts/{account_id}/teamnet/routes/{route_id}", dependencies=EDIT)
async def edit_route(context: Ctx, route_id: Id, body: RouteChanges) -> JSONResponse:
    """Change what the body names."""
    changes = ip_routes.RouteChanges(**body.model_dump())

    async def operation(work: Work) -> dict[str, Any]:
        return _json(await ip_routes.edit(work, route_id, changes))

    return success(await context.write(operation))


@router.delete("/accounts/{account_id}/teamnet/routes/{route_id}", dependencies=EDIT)
async def delete_route(context: Ctx, route_id: Id) -> JSONResponse:
    """Delete a route."""

    async def operation(work: Work) -> dict[str, Any]:
        return _json(await ip_routes.remove(work, route_id))

    return success(await context.write(operation))


def _json(route: IpRoute) -> dict[str, Any]:
    return {
        "id": route.id,
        "network": route.network,
        "tunnel_id": route.tunnel_id,
        "virtual_network_id": route.virtual_network_id,
        "comment": route.comment,
        "created_at": time_text(route.created_at),
        "deleted_at": time_text(route.deleted_at),
    }


def _detailed(route: IpRoute, tunnel_name: str, virtual_network_name: str) -> dict[str, Any]:
    return _json(route) | {
        "tun_type": "cfd_tunnel", "tunnel_name": tunnel_name, "virtual_network_name": virtual_network_name,
    }  # fmt: skip
