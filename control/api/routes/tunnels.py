"""Tunnels: `/accounts/{a}/cfd_tunnel`."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from starlette.responses import JSONResponse

from pyconnector.control.api.context import Ctx, Paging, needs
from pyconnector.control.api.envelope import success
from pyconnector.control.api.fields import Body, Id, Moment, Name, Text
from pyconnector.control.api.routes.tunnel_form import token_of, tunnels_json
from pyconnector.control.store.objects import tunnels
from pyconnector.control.store.work import Work

READ, EDIT = [needs("tunnels:read")], [needs("tunnels:edit")]
router = APIRouter(tags=["Tunnels"])


class NewTunnel(Body):
    """A tunnel to be made."""

    name: Name
    config_src: Literal["local", "cloudflare"] = "local"
    tunnel_secret: Text | None = None


class TunnelChanges(Body):
    """What is to be different."""

    name: Name | None = None
    tunnel_secret: Text | None = None


def _filter(
    name: Text | None = None,
    uuid: Id | None = None,
    is_deleted: bool | None = None,
    existed_at: Moment | None = None,
    was_active_at: Moment | None = None,
    was_inactive_at: Moment | None = None,
) -> tunnels.TunnelFilter:
    return tunnels.TunnelFilter(
        name=name, uuid=uuid, is_deleted=is_deleted, existed_at=existed_at, was_active_at=was_active_at,
        was_inactive_at=was_inactive_at,
    )  # fmt: skip


def _prefixes(
    name_prefix: Text | None = None,
    include_prefix: Text | None = None,
    exclude_prefix: Text | None = None,
    status: Literal["inactive", "degraded", "healthy", "down"] | None = None,
) -> dict[str, str | None]:
    # The reference says name_prefix, the SDKs say include_prefix.
    return {"include_prefix": include_prefix or name_prefix, "exclude_prefix": exclude_prefix, "status": status}


Filter = Annotated[tunnels.TunnelFilter, Depends(_filter)]
Prefixes = Annotated["dict[str, str | None]", Depends(_prefixes)]


@router.get("/accounts/{account_id}/cfd_tunnel", dependencies=READ)
async def list_tunnels(context: Ctx, page: Paging, wanted: Filter, prefixes: Prefixes) -> JSONResponse:
    """List tunnels, the youngest first."""
    return await _list(context, page, wanted, prefixes)


@router.get("/accounts/{account_id}/tunnels", dependencies=READ)
async def list_all_tunnels(
    context: Ctx, page: Paging, wanted: Filter, prefixes: Prefixes, tun_types: Annotated[str | None, Query()] = None
) -> JSONResponse:
    """List tunnels of every kind; there is one kind here."""
    if tun_types is not None and "cfd_tunnel" not in tun_types.split(","):
        return success([], info={"count": 0, "page": page.page, "per_page": page.per_page, "total_count": 0})
    return await _list(context, page, wanted, prefixes)


async def _list(context: Ctx, page: Paging, wanted: Filter, prefixes: Prefixes) -> JSONResponse:
    complete = replace(wanted, **prefixes)  # type: ignore[arg-type]  # the keys are fields
    now = context.now
    async with context.read() as session:
        found = await tunnels.listed(session, context.account_id, complete, page, now)
        return success(await tunnels_json(session, found.rows, now), found)


@router.post("/accounts/{account_id}/cfd_tunnel", dependencies=EDIT)
async def create_tunnel(context: Ctx, body: NewTunnel) -> JSONResponse:
    """Make a tunnel. The answer holds its token."""

    async def operation(work: Work) -> dict[str, object]:
        tunnel = await tunnels.create(work, name=body.name, secret=body.tunnel_secret, config_src=body.config_src)
        await work.session.flush()
        told = (await tunnels_json(work.session, [tunnel], work.now))[0]
        return told | {"token": token_of(tunnel)}

    return success(await context.write(operation))


@router.get("/accounts/{account_id}/cfd_tunnel/{tunnel_id}", dependencies=READ)
async def get_tunnel(context: Ctx, tunnel_id: Id) -> JSONResponse:
    """Return a tunnel; a deleted one too, with its `deleted_at`."""
    async with context.read() as session:
        tunnel = await tunnels.find(session, context.account_id, tunnel_id, deleted=True)
        return success((await tunnels_json(session, [tunnel], context.now))[0])


@router.patch("/accounts/{account_id}/cfd_tunnel/{tunnel_id}", dependencies=EDIT)
async def edit_tunnel(context: Ctx, tunnel_id: Id, body: TunnelChanges) -> JSONResponse:
    """Change a tunnel's name or secret."""

    async def operation(work: Work) -> dict[str, object]:
        tunnel = await tunnels.edit(work, tunnel_id, name=body.name, secret=body.tunnel_secret)
        return (await tunnels_json(work.session, [tunnel], work.now))[0]

    return success(await context.write(operation))


@router.delete("/accounts/{account_id}/cfd_tunnel/{tunnel_id}", dependencies=EDIT)
async def delete_tunnel(context: Ctx, tunnel_id: Id, cascade: bool = False) -> JSONResponse:
    """Delete a tunnel; with `cascade` its connections and routes too."""

    async def operation(work: Work) -> dict[str, object]:
        tunnel = await tunnels.remove(work, tunnel_id, cascade=cascade)
        return (await tunnels_json(work.session, [tunnel], work.now))[0]

    return success(await context.write(operation))


@router.get("/accounts/{account_id}/cfd_tunnel/{tunnel_id}/token", dependencies=EDIT)
async def get_token(context: Ctx, tunnel_id: Id) -> JSONResponse:
    """Return what a connector of this tunnel is started with. It is a secret, so reading does not suffice."""
    async with context.read() as session:
        return success(token_of(await tunnels.find(session, context.account_id, tunnel_id)))
