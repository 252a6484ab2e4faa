"""What a connector of this mesh dials, and whom it trusts: `/accounts/{a}/edges`, an extension."""

from __future__ import annotations

from ipaddress import ip_address

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse

from pyconnector.control.api.context import Context, Ctx, needs
from pyconnector.control.api.envelope import success
from pyconnector.control.store.objects import live

router = APIRouter(tags=["Edges"])


@router.get("/accounts/{account_id}/edges", dependencies=[needs("tunnels:read")])
async def list_edges_for_connectors(context: Ctx, request: Request) -> JSONResponse:
    """Return HOST:PORT of each edge that lives and joined the mesh, and the authority that vouches for all of them.

    `discovery` is where connectors follow changes of them, by DNS; empty where that is not served.
    """
    async with context.read() as session:
        found = await live.edges_for_connectors(session, context.now)
    # One without an address for its peers did not join, and has an authority of its own.
    edges = [edge.address for edge in found if edge.address and edge.about.get("peer")]
    return success(
        {"edges": edges, "authority": context.authority.certificate, "discovery": _discovery(context, request)}
    )


def _discovery(context: Context, request: Request) -> str:
    if context.dns_address is None:
        return ""
    host, port = context.dns_address
    if ip_address(host).is_unspecified:  # every address of this machine: the one at which the asker reached it, too
        host = request.url.hostname or host
    return f"dns://[{host}]:{port}" if ":" in host else f"dns://{host}:{port}"
