"""The configuration of a tunnel: `/accounts/{a}/cfd_tunnel/{t}/configurations`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import JSONResponse

from pyconnector.control.api.context import Ctx, needs
from pyconnector.control.api.envelope import success, time_text
from pyconnector.control.api.fields import Body, Id
from pyconnector.control.store.models import Tunnel
from pyconnector.control.store.objects import configurations, tunnels
from pyconnector.control.store.work import Work

router = APIRouter(tags=["Configurations"])


class NewConfiguration(Body):
    """A configuration; its times are numbers of seconds."""

    config: dict[str, Any]


@router.get("/accounts/{account_id}/cfd_tunnel/{tunnel_id}/configurations", dependencies=[needs("tunnels:read")])
async def get_configuration(context: Ctx, tunnel_id: Id) -> JSONResponse:
    """Return the configuration that was put here last; version 0 where none was."""
    async with context.read() as session:
        return success(_json(await tunnels.find(session, context.account_id, tunnel_id)))


@router.put("/accounts/{account_id}/cfd_tunnel/{tunnel_id}/configurations", dependencies=[needs("tunnels:edit")])
async def put_configuration(context: Ctx, tunnel_id: Id, body: NewConfiguration) -> JSONResponse:
    """Give a tunnel its next configuration; its connectors get it at once. It is managed here from then on."""

    async def operation(work: Work) -> dict[str, Any]:
        return _json(await configurations.put(work, tunnel_id, body.config))

    return success(await context.write(operation))


def _json(tunnel: Tunnel) -> dict[str, Any]:
    return {
        "account_id": tunnel.account_id,
        "tunnel_id": tunnel.id,
        "config": tunnel.configuration,
        "created_at": time_text(tunnel.configured_at or tunnel.created_at),
        "source": tunnel.config_src,
        "version": tunnel.configuration_version,
    }
