"""Who is connected to a tunnel: `/accounts/{a}/cfd_tunnel/{t}/connections` and `/connectors`."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import JSONResponse

from pyconnector.control.api.context import Ctx, needs
from pyconnector.control.api.envelope import success
from pyconnector.control.api.fields import Id
from pyconnector.control.api.routes.tunnel_form import clients_json
from pyconnector.control.store.errors import NotFound
from pyconnector.control.store.models import Connection
from pyconnector.control.store.objects import connections, live, tunnels
from pyconnector.control.store.work import Work

READ, EDIT = [needs("tunnels:read")], [needs("tunnels:edit")]
NO_CONNECTOR = 1004
router = APIRouter(tags=["Connections"])


@router.get("/accounts/{account_id}/cfd_tunnel/{tunnel_id}/connections", dependencies=READ)
async def list_connections(context: Ctx, tunnel_id: Id) -> JSONResponse:
    """List the connectors of a tunnel, each with its connections."""
    return success(clients_json(await _connections(context, tunnel_id)))


@router.delete("/accounts/{account_id}/cfd_tunnel/{tunnel_id}/connections", dependencies=EDIT)
async def clean_up_connections(context: Ctx, tunnel_id: Id, client_id: Id | None = None) -> JSONResponse:
    """Close the connections of a tunnel, or of one connector. A connector that still runs connects again."""

    async def operation(work: Work) -> None:
        await connections.clean_up(work, tunnel_id, client_id)

    await context.write(operation)
    return success(None)


@router.get("/accounts/{account_id}/cfd_tunnel/{tunnel_id}/connectors/{client_id}", dependencies=READ)
async def get_connector(context: Ctx, tunnel_id: Id, client_id: Id) -> JSONResponse:
    """Return one connector."""
    held = [entry for entry in await _connections(context, tunnel_id) if entry.client_id == client_id]
    if not held:
        raise NotFound("No connector of that id is connected to the tunnel.", NO_CONNECTOR)
    return success(clients_json(held)[0])


async def _connections(context: Ctx, tunnel_id: str) -> list[Connection]:
    async with context.read() as session:
        await tunnels.find(session, context.account_id, tunnel_id, deleted=True)
        return (await live.connections_of(session, [tunnel_id], context.now))[tunnel_id]
