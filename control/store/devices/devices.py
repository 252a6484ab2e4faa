"""Devices: one for each service token, made with it, and those that come over WireGuard, added by hand."""

from __future__ import annotations

import os
import uuid
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

from sqlalchemy import or_, select

from pyconnector.control.store.access.tables import ServiceToken
from pyconnector.control.store.devices.ranges import mesh_range, name_range, take_address
from pyconnector.control.store.devices.tables import Device
from pyconnector.control.store.errors import Conflict, Invalid, NotFound
from pyconnector.control.store.pages import Page, PageRequest, fetch_page
from pyconnector.control.store.work import Actor, Entry
from pyconnector.identity.devices.addresses import edge_address
from pyconnector.identity.devices.wireguard import KEY_BYTES, key_bytes, make_private_key

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from pyconnector.control.store.database import Database
    from pyconnector.control.store.work import Work

NO_DEVICE, BAD_DEVICE = 12_160, 12_162
TOKEN, WIREGUARD = "token", "wireguard"
#: UDP ports of devices: one each, from this one on, and so many.
FIRST_PORT, MAX_WIREGUARD = 51_820, 1_000
#: Service tokens that get their records in one transaction at a start.
TOKENS_AT_ONCE = 500


async def find(session: AsyncSession, account_id: str, device_id: str) -> Device:
    """Return a device. Cancel changes nothing.

    Raises:
        NotFound: there is none.
    """
    row = await session.get(Device, device_id)
    if row is None or row.account_id != account_id:
        raise NotFound("There is no device of that id.", NO_DEVICE)
    return row


async def listed(session: AsyncSession, account_id: str, page: PageRequest, *, kind: str | None = None) -> Page[Device]:
    """Return a page of devices, the oldest first. Cancel changes nothing."""
    statement = select(Device).where(Device.account_id == account_id)
    if kind is not None:
        statement = statement.where(Device.kind == kind)
    return await fetch_page(session, statement, page, Device.created_at, Device.id)


async def tokens_of(session: AsyncSession, rows: list[Device]) -> dict[str, ServiceToken]:
    """Return the service tokens that devices are bound to, by id. Cancel changes nothing."""
    wanted = {row.token_id for row in rows}
    found = (await session.execute(select(ServiceToken).where(ServiceToken.id.in_(wanted)))).scalars()
    return {token.id: token for token in found}


async def add_wireguard(work: Work, *, name: str, token: str, public_key: str) -> Device:
    """Add a device that comes over WireGuard, under the service token of a name or id. Cancel undoes it.

    Raises:
        NotFound: there is no such token.
        Invalid: the key is none, or another device has it, or several tokens have that name.
        Conflict: there is no address or no port left.
    """
    try:
        key_bytes(public_key)
    except ValueError as error:
        raise Invalid(str(error), BAD_DEVICE) from None
    owner = await _token(work, token)
    if (await work.session.execute(select(Device.id).where(Device.public_key == public_key))).first():
        raise Invalid("Another device has this key: make a new one for each.", BAD_DEVICE)
    row = await _new(work, owner, WIREGUARD, name)
    row.public_key, row.server_key = public_key, make_private_key(os.urandom(KEY_BYTES))
    row.port = await _free_port(work)
    row.dns_address, row.name_range = int(edge_address(await mesh_range(work))), str(await name_range(work))
    work.session.add(row)
    _changed(work, row, "create", f"Added device {name}")
    return row


async def add_for_token(work: Work, token: ServiceToken) -> Device:
    """Give a service token its record. Cancel undoes it.

    Raises:
        Conflict: there is no address left.
    """
    row = await _new(work, token, TOKEN, token.name)
    work.session.add(row)
    work.publish("device", row.id, edge_value(row))
    await work.session.flush()
    return row


async def rename_token(work: Work, token: ServiceToken) -> None:
    """Let the record of a service token have its name. Cancel undoes it."""
    statement = select(Device).where(Device.token_id == token.id, Device.kind == TOKEN)
    for row in (await work.session.execute(statement)).scalars():
        row.name, row.updated_at = token.name, work.now
        work.publish("device", row.id, edge_value(row))


async def forget_token(work: Work, token_id: str) -> None:
    """Delete every device of a service token, which is about to be deleted. Cancel undoes it."""
    for row in (await work.session.execute(select(Device).where(Device.token_id == token_id))).scalars():
        await _delete(work, row, audited=row.kind == WIREGUARD)
    await work.session.flush()


async def set_revoked(work: Work, device_id: str, *, revoked: bool) -> Device:
    """Let a device reach nothing any more, and end what it has running; or let it again. Cancel undoes it.

    Raises:
        NotFound: there is none.
    """
    row = await find(work.session, work.account_id, device_id)
    if revoked is not (row.revoked_at is not None):
        row.revoked_at = work.now if revoked else None
        _changed(work, row, "update", f"{'Revoked' if revoked else 'Let in again'} device {row.name}")
    return row


async def remove(work: Work, device_id: str) -> Device:
    """Delete a device: its flows and its port are closed, its address is free. Cancel undoes it.

    Raises:
        NotFound: there is none.
        Invalid: it is the record of a service token, which ends with that.
    """
    row = await find(work.session, work.account_id, device_id)
    if row.kind == TOKEN:
        raise Invalid("This is the record of a service token: revoke it, or delete the token.", BAD_DEVICE)
    await _delete(work, row, audited=True)
    return row


async def give_all(database: Database, account_id: str) -> None:
    """Give every service token that has none its record: those of before there were devices. Cancel leaves some."""

    async def operation(work: Work) -> bool:
        held = select(Device.token_id).where(Device.kind == TOKEN)
        statement = (
            select(ServiceToken)
            .where(ServiceToken.account_id == account_id, ServiceToken.id.not_in(held))
            .order_by(ServiceToken.created_at)
            .limit(TOKENS_AT_ONCE)
        )
        found = list((await work.session.execute(statement)).scalars())
        for token in found:
            await add_for_token(work, token)
        return len(found) == TOKENS_AT_ONCE

    while await database.write(Actor(account_id=account_id), operation):
        pass


def edge_value(row: Device) -> dict[str, Any]:
    """Return what edges need to know, the edges' own key towards the device with it."""
    told: dict[str, Any] = {
        "name": row.name, "kind": row.kind, "token_id": row.token_id, "address": str(IPv4Address(row.address)),
        "enabled": row.revoked_at is None,
    }  # fmt: skip
    if row.kind == WIREGUARD and row.dns_address is not None:
        told |= {
            "public_key": row.public_key, "server_key": row.server_key, "port": row.port,
            "dns_address": str(IPv4Address(row.dns_address)), "name_range": row.name_range,
        }  # fmt: skip
    return told


async def _new(work: Work, token: ServiceToken, kind: str, name: str) -> Device:
    address = await take_address(work)
    return Device(
        id=str(uuid.uuid4()), account_id=work.account_id, name=name, kind=kind, token_id=token.id,
        address=int(address), created_at=work.now, updated_at=work.now,
    )  # fmt: skip


async def _delete(work: Work, row: Device, *, audited: bool) -> None:
    await work.session.delete(row)
    work.publish("device", row.id, None)
    if audited:
        work.audit(
            Entry(action="delete", resource_type="device", resource_id=row.id, description=f"Deleted device {row.name}")
        )


async def _token(work: Work, wanted: str) -> ServiceToken:
    statement = select(ServiceToken).where(
        ServiceToken.account_id == work.account_id, or_(ServiceToken.id == wanted, ServiceToken.name == wanted)
    )
    found = list((await work.session.execute(statement.limit(2))).scalars())
    if not found:
        raise NotFound(f"There is no service token {wanted[:100]!r}.", NO_DEVICE)
    if len(found) > 1:
        raise Invalid(f"Several service tokens are called {wanted[:100]!r}: name one by its id.", BAD_DEVICE)
    return found[0]


async def _free_port(work: Work) -> int:
    taken = set((await work.session.execute(select(Device.port).where(Device.port.is_not(None)))).scalars())
    for port in range(FIRST_PORT, FIRST_PORT + MAX_WIREGUARD):
        if port not in taken:
            return port
    raise Conflict(f"There are {MAX_WIREGUARD} devices with WireGuard, which is as many as there may be.", BAD_DEVICE)


def _changed(work: Work, row: Device, action: str, description: str) -> None:
    row.updated_at = work.now
    value = edge_value(row)
    work.publish("device", row.id, value)
    told = {"id": row.id, **{name: each for name, each in value.items() if name != "server_key"}}
    work.audit(Entry(action=action, resource_type="device", resource_id=row.id, description=description, response=told))
