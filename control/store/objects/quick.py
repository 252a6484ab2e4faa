"""Quick tunnels: made for anybody who asks, with a name nobody can guess, and gone soon after their connector.

A quick tunnel is an ordinary one whose `config_src` is `QUICK` in the database, and one record that leads to it.
"""

from __future__ import annotations

import datetime
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from pyconnector.control.store.errors import StoreError
from pyconnector.control.store.models import Activity, DnsRecord, Tunnel, Zone
from pyconnector.control.store.objects import dns, live, tunnels
from pyconnector.control.store.objects.names import TUNNEL_SUFFIX

if TYPE_CHECKING:
    from pyconnector.control.store.work import Work

#: `config_src` of a quick tunnel in the database; clients are told `local`.
QUICK = "quick"
#: Seconds without a connection after which one is deleted, and the longest that one lives.
IDLE_LIFETIME = 300.0
LONGEST_LIFETIME = 86_400.0
_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"
_WORDS, _SYLLABLES = 3, 3


class NoRoom(StoreError):
    """There are as many quick tunnels as there may be."""


class NoEdge(StoreError):
    """No edge is there that a connector could connect to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuickTunnel:
    """One just made, and all that its connector has to know."""

    tunnel: Tunnel
    hostname: str
    edges: tuple[str, ...]
    "HOST:PORT of each edge."
    visitors: str
    "Where an edge serves visitors, without a path; empty where no edge said so."


async def create(work: Work, zone_id: str, limit: int) -> QuickTunnel:
    """Make a quick tunnel, unless `limit` of them are there. Cancel undoes it.

    Raises:
        NoRoom: they are.
        NoEdge: there is nobody to serve it.
    """
    await expire(work)
    edges = await live.edges_for_connectors(work.session, work.now)
    if not edges:
        raise NoEdge("No edge is connected to this control plane.", 1000)
    present = select(func.count()).select_from(Tunnel).where(Tunnel.config_src == QUICK, Tunnel.deleted_at.is_(None))
    if (await work.session.execute(present)).scalar_one() >= limit:
        raise NoRoom("There are as many quick tunnels as there may be; try again later.", 1000)
    zone = await work.session.get_one(Zone, zone_id)
    name = _name()
    tunnel = await tunnels.create(work, name=name, secret=None, config_src=QUICK)
    await work.session.flush()
    values = dns.RecordValues(name=f"{name}.{zone.name}", content=tunnel.id + TUNNEL_SUFFIX, comment="quick tunnel")
    record = await dns.create(work, zone, values)
    visitors = next((text for edge in edges if (text := edge.about.get("visitors"))), "")
    addresses = tuple(edge.address for edge in edges if edge.address)
    return QuickTunnel(tunnel=tunnel, hostname=record.name, edges=addresses, visitors=visitors)


async def expire(work: Work) -> int:
    """Delete quick tunnels whose time is over, with their names; return how many. Cancel undoes it."""
    rows = list(
        (
            await work.session.execute(select(Tunnel).where(Tunnel.config_src == QUICK, Tunnel.deleted_at.is_(None)))
        ).scalars()
    )
    living = await live.connections_of(work.session, [row.id for row in rows], work.now)
    over = 0
    for row in rows:
        activity = await work.session.get(Activity, row.id)
        if not _is_over(row, activity, connected=bool(living[row.id]), now=work.now):
            continue
        over += 1
        records = select(DnsRecord).where(DnsRecord.content == row.id + TUNNEL_SUFFIX)
        for record in list((await work.session.execute(records)).scalars()):
            await dns.remove(work, await work.session.get_one(Zone, record.zone_id), record.id)
        await tunnels.remove(work, row.id, cascade=True)
    await work.session.flush()
    return over


def _is_over(tunnel: Tunnel, activity: Activity | None, *, connected: bool, now: datetime.datetime) -> bool:
    if now - tunnel.created_at >= datetime.timedelta(seconds=LONGEST_LIFETIME):
        return True
    if connected:
        return False
    idle_since: datetime.datetime | None = tunnel.created_at
    if activity is not None and activity.active_at is not None:
        # None where its edges vanished together and nobody saw it leave: they may be back in a moment.
        idle_since = activity.inactive_at
    return idle_since is not None and now - idle_since >= datetime.timedelta(seconds=IDLE_LIFETIME)


def _name() -> str:
    """Return a name of 55 random bits that can be read out: `bakomi-tureli-sodavu`."""
    syllables = [secrets.choice(_CONSONANTS) + secrets.choice(_VOWELS) for _ in range(_WORDS * _SYLLABLES)]
    return "-".join("".join(syllables[start : start + _SYLLABLES]) for start in range(0, len(syllables), _SYLLABLES))
