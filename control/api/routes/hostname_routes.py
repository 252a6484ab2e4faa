"""Private names that tunnels serve: `/accounts/{a}/zerotrust/routes/hostname`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends
from starlette.responses import JSONResponse

from pyconnector.control.api.context import Ctx, Paging, needs
from pyconnector.control.api.envelope import success, time_text
from pyconnector.control.api.fields import Body, Id, Moment, Text
from pyconnector.control.store.models import HostnameRoute, Tunnel
from pyconnector.control.store.objects import hostname_routes
from pyconnector.control.store.work import Work

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

READ, EDIT = [needs("networks:read")], [needs("networks:edit")]
router = APIRouter(tags=["Hostname routes"])


class NewHostnameRoute(Body):
    """A route to be made."""

    hostname: Text
    tunnel_id: Id
    comment: Text = ""


class HostnameRouteChanges(Body):
    """What is to be different."""

    hostname: Text | None = None
    tunnel_id: Id | None = None
    comment: Text | None = None


def _filter(
    id: Id | None = None,
    hostname: Text | None = None,
    tunnel_id: Id | None = None,
    comment: Text | None = None,
    is_deleted: bool | None = None,
    existed_at: Moment | None = None,
) -> hostname_routes.HostnameFilter:
    return hostname_routes.HostnameFilter(
        id=id, hostname=hostname, tunnel_id=tunnel_id, comment=comment, is_deleted=is_deleted, existed_at=existed_at
    )


@router.get("/accounts/{account_id}/zerotrust/routes/hostname", dependencies=READ)
async def list_hostname_routes(
    context: Ctx, page: Paging, wanted: Annotated[hostname_routes.HostnameFilter, Depends(_filter)]
) -> JSONResponse:
    """List routes by name."""
    async with context.read() as session:
        found = await hostname_routes.listed(session, context.account_id, wanted, page)
        return success([await _json(session, route) for route in found.rows], found)


@router.post("/accounts/{account_id}/zerotrust/routes/hostname", dependencies=EDIT)
async def create_hostname_route(context: Ctx, body: NewHostnameRoute) -> JSONResponse:
    """Make a route."""

    async def operation(work: Work) -> dict[str, Any]:
        route = await hostname_routes.create(
            work, hostname=body.hostname, tunnel_id=body.tunnel_id, comment=body.comment
        )
        return await _json(work.session, route)

    return success(await context.write(operation))


@router.get("/accounts/{account_id}/zerotrust/routes/hostname/{route_id}", dependencies=READ)
async def get_hostname_route(context: Ctx, route_id: Id) -> JSONResponse:
    """Return a route."""
    async with context.read() as session:
        return success(await _json(session, await hostname_routes.find(session, context.account_id, route_id)))


@router.patch("/accounts/{account_id}/zerotrust/routes/hostname/{route_id}", dependencies=EDIT)
async def edit_hostname_route(context: Ctx, route_id: Id, body: HostnameRouteChanges) -> JSONResponse:
    """Change what the body names."""

    async def operation(work: Work) -> dict[str, Any]:
        route = await hostname_routes.edit(
            work, route_id, hostname=body.hostname, tunnel_id=body.tunnel_id, comment=body.comment
        )
        return await _json(work.session, route)

    return success(await context.write(operation))


@router.delete("/accounts/{account_id}/zerotrust/routes/hostname/{route_id}", dependencies=EDIT)
async def delete_hostname_route(context: Ctx, route_id: Id) -> JSONResponse:
    """Delete a route."""

    async def operation(work: Work) -> dict[str, Any]:
        return await _json(work.session, await hostname_routes.remove(work, route_id))

    return success(await context.write(operation))


async def _json(session: AsyncSession, route: HostnameRoute) -> dict[str, Any]:
    tunnel = await session.get_one(Tunnel, route.tunnel_id)
    return {
        "id": route.id,
        "hostname": route.hostname,
        "tunnel_id": route.tunnel_id,
        "tunnel_name": tunnel.name,
        "tun_type": "cfd_tunnel",
        "comment": route.comment,
        "created_at": time_text(route.created_at),
        "deleted_at": time_text(route.deleted_at),
    }
