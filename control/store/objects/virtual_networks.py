"""Virtual networks: one of them is the default, always."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from pyconnector.control.store.errors import Conflict, NotFound
from pyconnector.control.store.models import IpRoute, VirtualNetwork
from pyconnector.control.store.pages import Page, PageRequest, fetch_page
from pyconnector.control.store.work import Entry

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from pyconnector.control.store.work import Work

NAME_TAKEN = 1016
NO_NETWORK = 1015
IN_USE = 1017
#: The name of the one that every account begins with.
FIRST = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFilter:
    """Which virtual networks a list is to show."""

    id: str | None = None
    name: str | None = None
    is_default: bool | None = None
    is_deleted: bool | None = None


async def find(session: AsyncSession, account_id: str, network_id: str) -> VirtualNetwork:
    """Return a virtual network. Cancel changes nothing.

    Raises:
        NotFound: there is none.
    """
    network = await session.get(VirtualNetwork, network_id)
    if network is None or network.account_id != account_id or network.deleted_at is not None:
        raise NotFound("There is no virtual network of that id.", NO_NETWORK)
    return network


async def default_of(session: AsyncSession, account_id: str) -> VirtualNetwork:
    """Return the default one. Cancel changes nothing.

    Raises:
        NotFound: the account has none, which only a damaged database can show.
    """
    statement = select(VirtualNetwork).where(
        VirtualNetwork.account_id == account_id, VirtualNetwork.is_default, VirtualNetwork.deleted_at.is_(None)
    )
    network = (await session.execute(statement)).scalars().first()
    if network is None:
        raise NotFound("The account has no default virtual network.", NO_NETWORK)
    return network


async def listed(
    session: AsyncSession, account_id: str, wanted: NetworkFilter, page: PageRequest
) -> Page[VirtualNetwork]:
    """Return a page of virtual networks, the oldest first. Cancel changes nothing."""
    statement = select(VirtualNetwork).where(VirtualNetwork.account_id == account_id)
    if wanted.id is not None:
        statement = statement.where(VirtualNetwork.id == wanted.id)
    if wanted.name is not None:
        statement = statement.where(VirtualNetwork.name == wanted.name)
    if wanted.is_default is not None:
        statement = statement.where(VirtualNetwork.is_default == wanted.is_default)
    if wanted.is_deleted is not None:
        deleted = VirtualNetwork.deleted_at
        statement = statement.where(deleted.is_not(None) if wanted.is_deleted else deleted.is_(None))
    return await fetch_page(session, statement, page, VirtualNetwork.created_at, VirtualNetwork.id)


async def create(work: Work, *, name: str, comment: str, is_default: bool) -> VirtualNetwork:
    """Make a virtual network. Cancel undoes it.

    Raises:
        Conflict: one of that name is there.
    """
    await _check_name(work, name)
    if is_default:
        await _drop_default(work)
    network = VirtualNetwork(
        id=str(uuid.uuid4()), account_id=work.account_id, name=name, comment=comment, is_default=is_default,
        created_at=work.now, deleted_at=None,
    )  # fmt: skip
    work.session.add(network)
    _changed(work, network, "create")
    return network


async def edit(
    work: Work, network_id: str, *, name: str | None, comment: str | None, is_default: bool | None
) -> VirtualNetwork:
    """Change what is given. Cancel undoes it.

    Raises:
        StoreError: there is none, the name is taken, or no default would be left.
    """
    network = await find(work.session, work.account_id, network_id)
    if name is not None and name != network.name:
        await _check_name(work, name)
        network.name = name
    if comment is not None:
        network.comment = comment
    if is_default is False and network.is_default:
        raise Conflict("One virtual network is the default: make another one so instead.", IN_USE)
    if is_default and not network.is_default:
        await _drop_default(work)
        network.is_default = True
    _changed(work, network, "update")
    return network


async def remove(work: Work, network_id: str, *, force: bool) -> VirtualNetwork:
    """Delete a virtual network; with `force` its routes too. Cancel undoes it.

    Raises:
        NotFound: there is none.
        Conflict: it is the default, or has routes and `force` is not given.
    """
    network = await find(work.session, work.account_id, network_id)
    if network.is_default:
        raise Conflict("The default virtual network cannot be deleted; make another one the default first.", IN_USE)
    statement = select(IpRoute).where(IpRoute.virtual_network_id == network_id, IpRoute.deleted_at.is_(None))
    routes = list((await work.session.execute(statement)).scalars())
    if routes and not force:
        raise Conflict("The virtual network has routes; delete them first, or force it.", IN_USE)
    for route in routes:
        route.deleted_at = work.now
        work.publish("ip_route", route.id, None)
        work.audit(
            Entry(
                action="delete", resource_type="ip_route", resource_id=route.id,
                description=f"Deleted route {route.network} with its virtual network",
            )
        )  # fmt: skip
    network.deleted_at = work.now
    work.publish("virtual_network", network.id, None)
    work.audit(
        Entry(
            action="delete", resource_type="virtual_network", resource_id=network.id,
            description=f"Deleted virtual network {network.name}",
        )
    )  # fmt: skip
    return network


def edge_value(network: VirtualNetwork) -> dict[str, Any]:
    """Return what edges need to know."""
    return {"name": network.name, "is_default": network.is_default}


async def _drop_default(work: Work) -> None:
    network = await default_of(work.session, work.account_id)
    network.is_default = False
    _changed(work, network, "update")


async def _check_name(work: Work, name: str) -> None:
    twin = select(VirtualNetwork.id).where(
        VirtualNetwork.account_id == work.account_id, VirtualNetwork.name == name, VirtualNetwork.deleted_at.is_(None)
    )
    if (await work.session.execute(twin)).first() is not None:
        raise Conflict("You already have a virtual network with this name.", NAME_TAKEN)


def _changed(work: Work, network: VirtualNetwork, action: str) -> None:
    work.publish("virtual_network", network.id, edge_value(network))
    work.audit(
        Entry(
            action=action, resource_type="virtual_network", resource_id=network.id,
            description=f"{action.capitalize()}d virtual network {network.name}",
            response={"id": network.id, "name": network.name, "is_default_network": network.is_default},
        )
    )  # fmt: skip
