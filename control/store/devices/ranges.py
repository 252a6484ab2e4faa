"""The ranges that devices and names get addresses of, kept with the database so that all control planes agree."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING

from sqlalchemy import select

from pyconnector.control.store.devices.tables import Device
from pyconnector.control.store.errors import Conflict
from pyconnector.control.store.models import Setting
from pyconnector.identity.devices.addresses import MESH_RANGE, NAME_RANGE, next_address

if TYPE_CHECKING:
    from pyconnector.control.store.work import Work

NO_ROOM = 12_161
_MESH, _NAMES, _LAST = "mesh_range", "mesh_name_range", "mesh_last_address"


async def mesh_range(work: Work) -> IPv4Network:
    """Return where devices get their addresses. Cancel changes nothing."""
    row = await work.session.get(Setting, _MESH)
    return MESH_RANGE if row is None else IPv4Network(row.value)


async def name_range(work: Work) -> IPv4Network:
    """Return where names get theirs. Cancel changes nothing."""
    row = await work.session.get(Setting, _NAMES)
    return NAME_RANGE if row is None else IPv4Network(row.value)


async def keep_ranges(work: Work, mesh: IPv4Network | None, names: IPv4Network | None) -> None:
    """Let new devices and names be of these ranges, where one is given. Cancel undoes it."""
    for name, given in ((_MESH, mesh), (_NAMES, names)):
        if given is not None:
            await _set(work, name, str(given))


async def take_address(work: Work) -> IPv4Address:
    """Return a free Mesh address, which the caller gives to a device. Cancel undoes it.

    Raises:
        Conflict: the range is full.
    """
    found = await mesh_range(work)
    last = await work.session.get(Setting, _LAST)
    statement = select(Device.address).where(Device.address.between(int(found[0]), int(found[-1])))
    behind = int(last.value) if last is not None else 0
    # The usual case looks at one row, or none: what lies behind the last one that was given.
    near = (await work.session.execute(statement.where(Device.address == behind + 1))).first()
    if near is None and behind + 1 < int(found[-1]) and behind >= int(found[0]) + 1:
        address: IPv4Address | None = IPv4Address(behind + 1)
    else:
        taken = (await work.session.execute(statement.order_by(Device.address))).scalars()
        address = next_address(found, behind, taken)
    if address is None:
        raise Conflict(f"Every address of {found} has its device.", NO_ROOM)
    await _set(work, _LAST, str(int(address)))
    return address


async def _set(work: Work, name: str, value: str) -> None:
    row = await work.session.get(Setting, name)
    if row is None:
        work.session.add(Setting(name=name, value=value))
    else:
        row.value = value
    await work.session.flush()
