"""Tunnels: made, listed, renamed, deleted."""

from __future__ import annotations

import base64
import binascii
import datetime
import hashlib
import secrets
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, delete, func, or_, select

from pyconnector.control.store.errors import Conflict, Invalid, NotFound
from pyconnector.control.store.models import Activity, Connection, HostnameRoute, IpRoute, Tunnel
from pyconnector.control.store.objects import live
from pyconnector.control.store.pages import Page, PageRequest, fetch_page
from pyconnector.control.store.work import Entry

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncSession

    from pyconnector.control.store.work import Work

#: Bytes of a tunnel's secret.
MIN_SECRET, MAX_SECRET = 32, 512
NAME_TAKEN = 1013
HAS_CONNECTIONS = 1022
NO_TUNNEL = 1003


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelFilter:
    """Which tunnels a list is to show; None does not ask."""

    name: str | None = None
    include_prefix: str | None = None
    exclude_prefix: str | None = None
    is_deleted: bool | None = None
    existed_at: datetime.datetime | None = None
    was_active_at: datetime.datetime | None = None
    was_inactive_at: datetime.datetime | None = None
    uuid: str | None = None
    status: str | None = None


async def find(session: AsyncSession, account_id: str, tunnel_id: str, *, deleted: bool = False) -> Tunnel:
    """Return a tunnel; a deleted one only with `deleted`. Cancel changes nothing.

    Raises:
        NotFound: there is none.
    """
    tunnel = await session.get(Tunnel, tunnel_id)
    if tunnel is None or tunnel.account_id != account_id or (tunnel.deleted_at is not None and not deleted):
        raise NotFound("There is no tunnel of that id.", NO_TUNNEL)
    return tunnel


async def listed(
    session: AsyncSession, account_id: str, wanted: TunnelFilter, page: PageRequest, now: datetime.datetime
) -> Page[Tunnel]:
    """Return a page of tunnels, the youngest first. Cancel changes nothing."""
    statement = select(Tunnel).where(Tunnel.account_id == account_id, *_conditions(wanted, now))
    return await fetch_page(session, statement, page, Tunnel.created_at.desc(), Tunnel.id)


def _conditions(wanted: TunnelFilter, now: datetime.datetime) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.name is not None:
        found.append(Tunnel.name == wanted.name)
    if wanted.include_prefix is not None:
        found.append(_begins(wanted.include_prefix))
    if wanted.exclude_prefix is not None:
        found.append(~_begins(wanted.exclude_prefix))
    if wanted.is_deleted is not None:
        found.append(Tunnel.deleted_at.is_not(None) if wanted.is_deleted else Tunnel.deleted_at.is_(None))
    if wanted.uuid is not None:
        found.append(Tunnel.id == wanted.uuid)
    if wanted.existed_at is not None:
        at = wanted.existed_at
        found.append(and_(Tunnel.created_at <= at, or_(Tunnel.deleted_at.is_(None), Tunnel.deleted_at > at)))
    if wanted.status is not None:
        found.append(live.status_condition(wanted.status, now))
    return found + _activity_conditions(wanted)


def _activity_conditions(wanted: TunnelFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    mine = select(Activity.tunnel_id).where(Activity.tunnel_id == Tunnel.id)
    if (at := wanted.was_active_at) is not None:
        ended = and_(Activity.inactive_at.is_not(None), Activity.inactive_at <= at)
        found.append(mine.where(Activity.active_at <= at, ~ended).exists())
    if (at := wanted.was_inactive_at) is not None:
        found.append(mine.where(Activity.inactive_at <= at, Activity.active_at <= Activity.inactive_at).exists())
    return found


def _begins(prefix: str) -> ColumnElement[bool]:
    # LIKE ignores case on SQLite, and its signs would have to be escaped.
    return func.substr(Tunnel.name, 1, len(prefix)) == prefix


async def create(work: Work, *, name: str, secret: str | None, config_src: str) -> Tunnel:
    """Make a tunnel. Cancel undoes it.

    Raises:
        Conflict: one of that name is there.
        Invalid: the secret is none.
    """
    await _check_name(work, name)
    tunnel = Tunnel(
        id=str(uuid.uuid4()), account_id=work.account_id, name=name, secret=_secret(secret), config_src=config_src,
        configuration=None, configuration_version=0, configured_at=None, created_at=work.now, deleted_at=None,
    )  # fmt: skip
    work.session.add(tunnel)
    _changed(work, tunnel, "create", {"name": name, "config_src": config_src})
    return tunnel


async def edit(work: Work, tunnel_id: str, *, name: str | None, secret: str | None) -> Tunnel:
    """Change what is given. Connectors that are connected stay so, whatever the secret. Cancel undoes it.

    Raises:
        StoreError: there is no such tunnel, the name is taken, or the secret is none.
    """
    tunnel = await find(work.session, work.account_id, tunnel_id)
    told: dict[str, Any] = {}
    if name is not None and name != tunnel.name:
        await _check_name(work, name)
        tunnel.name = told["name"] = name
    if secret is not None:
        tunnel.secret = _secret(secret)
        told["tunnel_secret"] = "(not recorded)"
    _changed(work, tunnel, "update", told)
    return tunnel


async def remove(work: Work, tunnel_id: str, *, cascade: bool) -> Tunnel:
    """Delete a tunnel; with `cascade` its connections and routes too. Names routed to it stay. Cancel undoes it.

    Raises:
        NotFound: there is no such tunnel.
        Conflict: it is in use, and `cascade` is not given.
    """
    tunnel = await find(work.session, work.account_id, tunnel_id)
    connections = (await live.connections_of(work.session, [tunnel_id], work.now))[tunnel_id]
    routes = await _routes_of(work, tunnel_id)
    if connections and not cascade:
        raise Conflict(
            "The tunnel has active connections; clean them up first, or delete with cascade.", HAS_CONNECTIONS
        )
    if routes and not cascade:
        raise Conflict("The tunnel has routes; delete them first, or delete the tunnel with cascade.", HAS_CONNECTIONS)
    for route in routes:
        route.deleted_at = work.now
        kind = "ip_route" if isinstance(route, IpRoute) else "hostname_route"
        work.publish(kind, route.id, None)
        work.audit(
            Entry(action="delete", resource_type=kind, resource_id=route.id, description="Deleted with its tunnel")
        )
    await work.session.execute(delete(Connection).where(Connection.tunnel_id == tunnel_id))
    tunnel.deleted_at = work.now
    work.publish("tunnel", tunnel.id, None)
    work.audit(
        Entry(
            action="delete", resource_type="cfd_tunnel", resource_id=tunnel.id,
            description=f"Deleted tunnel {tunnel.name}", response={"id": tunnel.id, "name": tunnel.name},
        )
    )  # fmt: skip
    return tunnel


def edge_value(tunnel: Tunnel) -> dict[str, Any]:
    """Return what edges need to know. Of the secret only a digest: an edge compares, it shows no one."""
    secret = base64.b64decode(tunnel.secret)
    return {
        "account": tunnel.account_id,
        "name": tunnel.name,
        "secret_sha256": hashlib.sha256(secret).hexdigest(),
        "configuration": tunnel.configuration,
        "configuration_version": tunnel.configuration_version,
    }


def _changed(work: Work, tunnel: Tunnel, action: str, request: dict[str, Any]) -> None:
    work.publish("tunnel", tunnel.id, edge_value(tunnel))
    work.audit(
        Entry(
            action=action, resource_type="cfd_tunnel", resource_id=tunnel.id,
            description=f"{action.capitalize()}d tunnel {tunnel.name}", request=request,
            response={"id": tunnel.id, "name": tunnel.name, "config_src": tunnel.config_src},
        )
    )  # fmt: skip


async def _routes_of(work: Work, tunnel_id: str) -> list[IpRoute | HostnameRoute]:
    networks = select(IpRoute).where(IpRoute.tunnel_id == tunnel_id, IpRoute.deleted_at.is_(None))
    names = select(HostnameRoute).where(HostnameRoute.tunnel_id == tunnel_id, HostnameRoute.deleted_at.is_(None))
    found: list[IpRoute | HostnameRoute] = list((await work.session.execute(networks)).scalars())
    found.extend((await work.session.execute(names)).scalars())
    return found


async def _check_name(work: Work, name: str) -> None:
    twin = select(Tunnel.id).where(
        Tunnel.account_id == work.account_id, Tunnel.name == name, Tunnel.deleted_at.is_(None)
    )
    if (await work.session.execute(twin)).first() is not None:
        raise Conflict("You already have a tunnel with this name.", NAME_TAKEN)


def _secret(text: str | None) -> str:
    if text is None:
        return base64.b64encode(secrets.token_bytes(MIN_SECRET)).decode("ascii")
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Invalid("tunnel_secret is not base64.", 1001) from None
    if not MIN_SECRET <= len(raw) <= MAX_SECRET:
        raise Invalid(f"tunnel_secret has from {MIN_SECRET} to {MAX_SECRET} bytes before base64.", 1001)
    return text
