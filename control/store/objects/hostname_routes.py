"""Private names that tunnels serve; one name, one tunnel."""

from __future__ import annotations

import datetime
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, or_, select

from pyconnector.control.store.errors import Conflict, NotFound
from pyconnector.control.store.models import HostnameRoute
from pyconnector.control.store.objects import tunnels
from pyconnector.control.store.objects.names import hostname_of
from pyconnector.control.store.pages import Page, PageRequest, fetch_page
from pyconnector.control.store.work import Entry

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from pyconnector.control.store.work import Work

EXISTS = 1018
NO_ROUTE = 1019


@dataclass(frozen=True, slots=True, kw_only=True)
class HostnameFilter:
    """Which routes a list is to show."""

    id: str | None = None
    hostname: str | None = None
    tunnel_id: str | None = None
    comment: str | None = None
    is_deleted: bool | None = None
    existed_at: datetime.datetime | None = None


async def find(session: AsyncSession, account_id: str, route_id: str) -> HostnameRoute:
    """Return a route. Cancel changes nothing.

    Raises:
        NotFound: there is none.
    """
    route = await session.get(HostnameRoute, route_id)
    if route is None or route.account_id != account_id or route.deleted_at is not None:
        raise NotFound("There is no hostname route of that id.", NO_ROUTE)
    return route


async def listed(
    session: AsyncSession, account_id: str, wanted: HostnameFilter, page: PageRequest
) -> Page[HostnameRoute]:
    """Return a page of routes by name. Cancel changes nothing."""
    table = HostnameRoute
    statement = select(table).where(table.account_id == account_id)
    hostname = None if wanted.hostname is None else wanted.hostname.lower()
    for column, value in (
        (table.id, wanted.id), (table.hostname, hostname), (table.tunnel_id, wanted.tunnel_id),
        (table.comment, wanted.comment),
    ):  # fmt: skip
        if value is not None:
            statement = statement.where(column == value)
    if wanted.is_deleted is not None:
        statement = statement.where(table.deleted_at.is_not(None) if wanted.is_deleted else table.deleted_at.is_(None))
    if (at := wanted.existed_at) is not None:
        statement = statement.where(
            and_(table.created_at <= at, or_(table.deleted_at.is_(None), table.deleted_at > at))
        )
    return await fetch_page(session, statement, page, table.hostname, table.id)


async def create(work: Work, *, hostname: str, tunnel_id: str, comment: str) -> HostnameRoute:
    """Make a route. Cancel undoes it.

    Raises:
        StoreError: the name is none or has a route, or there is no such tunnel.
    """
    name = hostname_of(hostname)
    tunnel = await tunnels.find(work.session, work.account_id, tunnel_id)
    await _check_free(work, name)
    route = HostnameRoute(
        id=str(uuid.uuid4()), account_id=work.account_id, hostname=name, tunnel_id=tunnel.id, comment=comment,
        created_at=work.now, deleted_at=None,
    )  # fmt: skip
    work.session.add(route)
    _changed(work, route, "create")
    return route


async def edit(
    work: Work, route_id: str, *, hostname: str | None, tunnel_id: str | None, comment: str | None
) -> HostnameRoute:
    """Change what is given. Cancel undoes it.

    Raises:
        StoreError: there is no such route or tunnel, or the name is none or has a route.
    """
    route = await find(work.session, work.account_id, route_id)
    if hostname is not None and (name := hostname_of(hostname)) != route.hostname:
        await _check_free(work, name)
        route.hostname = name
    if tunnel_id is not None:
        route.tunnel_id = (await tunnels.find(work.session, work.account_id, tunnel_id)).id
    if comment is not None:
        route.comment = comment
    _changed(work, route, "update")
    return route


async def remove(work: Work, route_id: str) -> HostnameRoute:
    """Delete a route. Cancel undoes it.

    Raises:
        NotFound: there is none.
    """
    route = await find(work.session, work.account_id, route_id)
    route.deleted_at = work.now
    work.publish("hostname_route", route.id, None)
    work.audit(
        Entry(
            action="delete", resource_type="hostname_route", resource_id=route.id,
            description=f"Deleted hostname route {route.hostname}",
        )
    )  # fmt: skip
    return route


def edge_value(route: HostnameRoute) -> dict[str, Any]:
    """Return what edges need to know."""
    return {"hostname": route.hostname, "tunnel_id": route.tunnel_id}


async def _check_free(work: Work, hostname: str) -> None:
    twin = select(HostnameRoute.id).where(
        HostnameRoute.account_id == work.account_id,
        HostnameRoute.hostname == hostname,
        HostnameRoute.deleted_at.is_(None),
    )
    if (await work.session.execute(twin)).first() is not None:
        raise Conflict(f"You already have a route for {hostname}.", EXISTS)


def _changed(work: Work, route: HostnameRoute, action: str) -> None:
    work.publish("hostname_route", route.id, edge_value(route))
    work.audit(
        Entry(
            action=action, resource_type="hostname_route", resource_id=route.id,
            description=f"{action.capitalize()}d hostname route {route.hostname}",
            response={"id": route.id, **edge_value(route)},
        )
    )  # fmt: skip
