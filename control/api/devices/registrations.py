"""Devices: `/accounts/{a}/devices/registrations`, with the fields of api.md 8.

To add one is an extension: there devices enrol by themselves. `address`, `kind`, `token_id` and `wireguard` are ours.
"""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import StringConstraints
from starlette.responses import JSONResponse

from pyconnector.control.api.context import Ctx, Paging, needs
from pyconnector.control.api.envelope import success, time_text
from pyconnector.control.api.fields import Body, Id, Name
from pyconnector.control.store.devices import devices
from pyconnector.control.store.devices.tables import Device
from pyconnector.control.store.work import Work
from pyconnector.identity.devices.wireguard import public_key_of

if TYPE_CHECKING:
    from pyconnector.control.store.access.tables import ServiceToken

READ, EDIT = [needs("access:read")], [needs("access:edit")]
router = APIRouter(tags=["Devices"])
_PATH = "/accounts/{account_id}/devices/registrations"
#: Devices that one request revokes.
MAX_AT_ONCE = 100


class NewDevice(Body):
    """A device that comes over WireGuard. `token` is the name or the id of the service token whose rules hold for it;
    `key` is the device's public key: the private one stays there."""

    name: Name
    token: Name
    key: Annotated[str, StringConstraints(max_length=64)]


@router.get(_PATH, dependencies=READ)
async def list_devices(context: Ctx, page: Paging, kind: Literal["token", "wireguard"] | None = None) -> JSONResponse:
    """List devices, the oldest first."""
    async with context.read() as session:
        found = await devices.listed(session, context.account_id, page, kind=kind)
        tokens = await devices.tokens_of(session, found.rows)
    return success([_json(row, tokens.get(row.token_id)) for row in found.rows], found)


@router.post(_PATH, dependencies=EDIT)
async def add_device(context: Ctx, body: NewDevice) -> JSONResponse:
    """Add a device that comes over WireGuard: an address and a port of its own."""

    async def operation(work: Work) -> dict[str, Any]:
        row = await devices.add_wireguard(work, name=body.name, token=body.token, public_key=body.key)
        return _json(row, (await devices.tokens_of(work.session, [row])).get(row.token_id))

    return success(await context.write(operation))


@router.post(_PATH + "/revoke", dependencies=EDIT)
async def revoke_devices(
    context: Ctx, id: Annotated[list[Id], Query(min_length=1, max_length=MAX_AT_ONCE)]
) -> JSONResponse:
    """Let these devices reach nothing, and end what they have running."""
    return await _set_revoked(context, id, revoked=True)


@router.post(_PATH + "/unrevoke", dependencies=EDIT)
async def unrevoke_devices(
    context: Ctx, id: Annotated[list[Id], Query(min_length=1, max_length=MAX_AT_ONCE)]
) -> JSONResponse:
    """Let these devices in again."""
    return await _set_revoked(context, id, revoked=False)


@router.get(_PATH + "/{device_id}", dependencies=READ)
async def get_device(context: Ctx, device_id: Id) -> JSONResponse:
    """Return a device."""
    async with context.read() as session:
        row = await devices.find(session, context.account_id, device_id)
        tokens = await devices.tokens_of(session, [row])
    return success(_json(row, tokens.get(row.token_id)))


@router.delete(_PATH + "/{device_id}", dependencies=EDIT)
async def delete_device(context: Ctx, device_id: Id) -> JSONResponse:
    """Delete a device: its flows end, its port is closed, its address is free."""

    async def operation(work: Work) -> None:
        await devices.remove(work, device_id)

    await context.write(operation)
    return success(None)


async def _set_revoked(context: Ctx, ids: list[str], *, revoked: bool) -> JSONResponse:
    async def operation(work: Work) -> None:
        for device_id in ids:
            await devices.set_revoked(work, device_id, revoked=revoked)

    await context.write(operation)
    return success(None)


def _json(row: Device, token: ServiceToken | None) -> dict[str, Any]:
    is_wireguard = row.kind == devices.WIREGUARD
    address = str(IPv4Address(row.address))
    return {
        "id": row.id, "created_at": time_text(row.created_at), "updated_at": time_text(row.updated_at),
        "deleted_at": None, "revoked_at": time_text(row.revoked_at), "last_seen_at": None, "key": row.public_key,
        "key_type": "curve25519" if is_wireguard else None, "tunnel_type": "wireguard" if is_wireguard else None,
        "registration_type": "warp", "virtual_ipv4": address, "virtual_ipv6": None,
        "device": {"id": row.id, "name": row.name, "client_version": ""},
        "user": {"id": row.token_id, "name": token.name if token is not None else "", "email": ""}, "policy": None,
        "name": row.name, "kind": row.kind, "token_id": row.token_id, "address": address,
        "wireguard": _wireguard(row),
    }  # fmt: skip


def _wireguard(row: Device) -> dict[str, Any] | None:
    if row.server_key is None or row.dns_address is None:
        return None
    return {
        "server_key": public_key_of(row.server_key), "port": row.port,
        "dns_address": str(IPv4Address(row.dns_address)), "name_range": row.name_range,
    }  # fmt: skip
