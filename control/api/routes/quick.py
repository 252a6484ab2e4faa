"""Quick tunnels for anybody: `POST /tunnel`, as `cloudflared --quick-service URL` asks (cli.md 4)."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse

from pyconnector.control.api.envelope import failure, success
from pyconnector.control.api.guard import Served
from pyconnector.control.api.hosts import is_own_host
from pyconnector.control.quick import Asker, TooOften
from pyconnector.control.store.objects.quick import NoEdge, NoRoom

router = APIRouter(tags=["Quick tunnels"])


@router.post("/tunnel")
async def make_quick_tunnel(request: Request) -> JSONResponse:
    """Make a tunnel with a name, for as long as its connector stays. Nobody has to say who they are."""
    served: Served = request.scope["pyconnector.served"]
    if not served.quick.limit:
        return failure(403, (1000, "This control plane hands out no quick tunnels; --quick-tunnels N lets it."))
    # A web page can ask for neither without asking first: CORS for the one, a name of its own for the other.
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        return failure(415, (1000, "Content-Type is application/json."))
    if not is_own_host(request.headers.get("host", ""), served.hostnames):
        return failure(421, (1000, "This control plane does not go by that name; --api-hostname gives it one."))
    asker = Asker(request.client.host if request.client else "", request.headers.get("user-agent", ""))
    try:
        made = await served.quick.make(asker)
    except TooOften:
        return failure(429, (1000, "Too many quick tunnels were asked for; wait a minute."))
    except (NoRoom, NoEdge) as error:
        return failure(503, (error.code, str(error)))
    result: dict[str, Any] = {
        "id": made.tunnel.id, "name": made.tunnel.name, "hostname": made.hostname,
        "account_tag": made.tunnel.account_id, "secret": made.tunnel.secret,
        # What the reference does not ask for, and our own connector is glad of.
        "edges": list(made.edges), "authority": await served.quick.authority(), "visitors": made.visitors,
    }  # fmt: skip
    return success(result)
