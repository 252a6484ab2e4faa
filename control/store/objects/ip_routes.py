"""Networks that tunnels serve. An address belongs to the route of the longest prefix, as in every router."""

from __future__ import annotations

import datetime
import ipaddress
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from sqlalchemy import and_, or_, select

from pyconnector.control.store.errors import Conflict, Invalid, NotFound
from pyconnector.control.store.models import IpRoute
from pyconnector.control.store.objects import tunnels, virtual_networks
from pyconnector.control.store.pages import Page, PageRequest, fetch_page
from pyconnector.control.store.work import Entry

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncSession

    from pyconnector.control.store.work import Work

EXISTS = 1014
NO_ROUTE = 1002
BAD_NETWORK = 1001
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteFilter:
    """Which routes a list is to show."""

    comment: str | None = None
    existed_at: datetime.datetime | None = None
    is_deleted: bool | None = None
    network_subset: Network | None = None
    "Only routes within this network."
    network_superset: Network | None = None
    "Only routes that contain this network."
    route_id: str | None = None
    tunnel_id: str | None = None
    virtual_network_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteChanges:
    """What a client wants to be different; None leaves it."""

    network: str | None = None
    tunnel_id: str | None = None
    virtual_network_id: str | None = None
    comment: str | None = None


def parse_network(text: str) -> Network:
    """Return a network; bits of a host are dropped.

    Raises:
        Invalid: it is none.
    """
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise Invalid(f"{text!r} is no network such as 10.0.0.0/8.", BAD_NETWORK) from None


async def find(session: AsyncSession, account_id: str, route_id: str) -> IpRoute:
    """Return a route. Cancel changes nothing.

    Raises:
        NotFound: there is none.
    """
    route = await session.get(IpRoute, route_id)
    if route is None or route.account_id != account_id or route.deleted_at is not None:
        raise NotFound("There is no route of that id.", NO_ROUTE)
    return route


async def listed(session: AsyncSession, account_id: str, wanted: RouteFilter, page: PageRequest) -> Page[IpRoute]:
    """Return a page of routes by address. Cancel changes nothing."""
    statement = select(IpRoute).where(IpRoute.account_id == account_id, *_conditions(wanted))
    return await fetch_page(session, statement, page, IpRoute.family, IpRoute.first, IpRoute.prefix, IpRoute.id)


def _conditions(wanted: RouteFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    for column, value in (
        (IpRoute.comment, wanted.comment), (IpRoute.id, wanted.route_id), (IpRoute.tunnel_id, wanted.tunnel_id),
        (IpRoute.virtual_network_id, wanted.virtual_network_id),
    ):  # fmt: skip
        if value is not None:
            found.append(column == value)
    if wanted.is_deleted is not None:
        found.append(IpRoute.deleted_at.is_not(None) if wanted.is_deleted else IpRoute.deleted_at.is_(None))
    if (at := wanted.existed_at) is not None:
        found.append(and_(IpRoute.created_at <= at, or_(IpRoute.deleted_at.is_(None), IpRoute.deleted_at > at)))
    if (outer := wanted.network_subset) is not None:
        first, last = _bounds(outer)
        found.append(and_(IpRoute.family == outer.version, IpRoute.first >= first, IpRoute.last <= last))
    if (inner := wanted.network_superset) is not None:
        found.append(_containing(inner))
    return found


async def for_address(
    session: AsyncSession, account_id: str, address: str, virtual_network_id: str | None
) -> IpRoute | None:
    """Return the route of an address, in a virtual network or the default one. Cancel changes nothing.

    Raises:
        Invalid: that is no address.
        NotFound: there is no such virtual network.
    """
    try:
        network = ipaddress.ip_network(ipaddress.ip_address(address))
    except ValueError:
        raise Invalid(f"{address!r} is no IP address.", BAD_NETWORK) from None
    if virtual_network_id is None:
        virtual_network_id = (await virtual_networks.default_of(session, account_id)).id
    statement = (
        select(IpRoute)
        .where(
            IpRoute.account_id == account_id,
            IpRoute.virtual_network_id == virtual_network_id,
            IpRoute.deleted_at.is_(None),
            _containing(network),
        )
        .order_by(IpRoute.prefix.desc())
        .limit(1)
    )
    return (await session.execute(statement)).scalar_one_or_none()


async def create(work: Work, *, network: str, tunnel_id: str, virtual_network_id: str | None, comment: str) -> IpRoute:
    """Make a route. Cancel undoes it.

    Raises:
        StoreError: the network is none or has a route, or there is no such tunnel or virtual network.
    """
    parsed = parse_network(network)
    tunnel = await tunnels.find(work.session, work.account_id, tunnel_id)
    virtual = await _virtual(work, virtual_network_id)
    await _check_free(work, parsed, virtual)
    route = IpRoute(
        id=str(uuid.uuid4()), account_id=work.account_id, tunnel_id=tunnel.id, virtual_network_id=virtual,
        comment=comment, created_at=work.now, deleted_at=None,
    )  # fmt: skip
    _place(route, parsed)
    work.session.add(route)
    _changed(work, route, "create")
    return route


async def edit(work: Work, route_id: str, changes: RouteChanges) -> IpRoute:
    """Change what is given. Cancel undoes it.

    Raises:
        StoreError: there is no such route, tunnel or virtual network, or the network is none or has a route.
    """
    route = await find(work.session, work.account_id, route_id)
    parsed = parse_network(changes.network if changes.network is not None else route.network)
    virtual = route.virtual_network_id
    if changes.virtual_network_id is not None:
        virtual = await _virtual(work, changes.virtual_network_id)
    if (str(parsed), virtual) != (route.network, route.virtual_network_id):
        await _check_free(work, parsed, virtual)
    if changes.tunnel_id is not None:
        route.tunnel_id = (await tunnels.find(work.session, work.account_id, changes.tunnel_id)).id
    if changes.comment is not None:
        route.comment = changes.comment
    route.virtual_network_id = virtual
    _place(route, parsed)
    _changed(work, route, "update")
    return route


async def remove(work: Work, route_id: str) -> IpRoute:
    """Delete a route. Cancel undoes it.

    Raises:
        NotFound: there is none.
    """
    route = await find(work.session, work.account_id, route_id)
    route.deleted_at = work.now
    work.publish("ip_route", route.id, None)
    work.audit(
        Entry(
            action="delete", resource_type="ip_route", resource_id=route.id,
            description=f"Deleted route {route.network}", response={"id": route.id, "network": route.network},
        )
    )  # fmt: skip
    return route


def edge_value(route: IpRoute) -> dict[str, Any]:
    """Return what edges need to know."""
    return {
        "network": route.network, "tunnel_id": route.tunnel_id, "virtual_network_id": route.virtual_network_id,
    }  # fmt: skip


def _bounds(network: Network) -> tuple[str, str]:
    return f"{int(network.network_address):032x}", f"{int(network.broadcast_address):032x}"


def _containing(network: Network) -> ColumnElement[bool]:
    first, last = _bounds(network)
    return and_(IpRoute.family == network.version, IpRoute.first <= first, IpRoute.last >= last)


def _place(route: IpRoute, network: Network) -> None:
    route.network, route.family, route.prefix = str(network), network.version, network.prefixlen
    route.first, route.last = _bounds(network)


async def _virtual(work: Work, virtual_network_id: str | None) -> str:
    if virtual_network_id is None:
        return (await virtual_networks.default_of(work.session, work.account_id)).id
    return (await virtual_networks.find(work.session, work.account_id, virtual_network_id)).id


async def _check_free(work: Work, network: Network, virtual_network_id: str) -> None:
    twin = select(IpRoute.id).where(
        IpRoute.virtual_network_id == virtual_network_id, IpRoute.network == str(network), IpRoute.deleted_at.is_(None)
    )
    if (await work.session.execute(twin)).first() is not None:
        raise Conflict(f"You already have a route for {network} in this virtual network.", EXISTS)


def _changed(work: Work, route: IpRoute, action: str) -> None:
    work.publish("ip_route", route.id, edge_value(route))
    work.audit(
        Entry(
            action=action, resource_type="ip_route", resource_id=route.id,
            description=f"{action.capitalize()}d route {route.network}", response={"id": route.id, **edge_value(route)},
        )
    )  # fmt: skip
