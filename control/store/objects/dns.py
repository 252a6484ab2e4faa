"""Public names: each CNAME record routes visitors to one tunnel."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from pyconnector.control.store.errors import Conflict, Invalid, NotFound
from pyconnector.control.store.models import DnsRecord, Zone
from pyconnector.control.store.objects import tunnels
from pyconnector.control.store.objects.names import TUNNEL_SUFFIX, name_in_zone
from pyconnector.control.store.pages import MAX_PER_PAGE, Page, PageRequest, fetch_page
from pyconnector.control.store.work import Entry

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from pyconnector.control.store.work import Work

NAME_TAKEN = 81053
ROUTE_TAKEN = 1003
NO_RECORD = 81044
BAD_RECORD = 9000


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordValues:
    """What a client wants a record to be."""

    name: str
    content: str
    ttl: int = 1
    proxied: bool = True
    comment: str | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordFilter:
    """Which records a list is to show."""

    name: str | None = None
    content: str | None = None
    type: str | None = None


async def zone_of(session: AsyncSession, account_id: str, zone_id: str) -> Zone:
    """Return a zone. Cancel changes nothing.

    Raises:
        NotFound: there is none.
    """
    zone = await session.get(Zone, zone_id)
    if zone is None or zone.account_id != account_id:
        raise NotFound("There is no zone of that id.", 1001)
    return zone


async def zones_of(session: AsyncSession, account_id: str) -> list[Zone]:
    """Return the zones of an account by name, as many as a page may list. Cancel changes nothing."""
    statement = select(Zone).where(Zone.account_id == account_id).order_by(Zone.name).limit(MAX_PER_PAGE)
    return list((await session.execute(statement)).scalars())


async def find(session: AsyncSession, zone: Zone, record_id: str) -> DnsRecord:
    """Return a record. Cancel changes nothing.

    Raises:
        NotFound: there is none.
    """
    record = await session.get(DnsRecord, record_id)
    if record is None or record.zone_id != zone.id:
        raise NotFound("There is no record of that id.", NO_RECORD)
    return record


async def listed(session: AsyncSession, zone: Zone, wanted: RecordFilter, page: PageRequest) -> Page[DnsRecord]:
    """Return a page of records by name. Cancel changes nothing."""
    statement = select(DnsRecord).where(DnsRecord.zone_id == zone.id)
    if wanted.name is not None:
        statement = statement.where(DnsRecord.name == wanted.name.lower())
    if wanted.content is not None:
        statement = statement.where(DnsRecord.content == wanted.content.lower())
    if wanted.type is not None:
        statement = statement.where(DnsRecord.type == wanted.type)
    return await fetch_page(session, statement, page, DnsRecord.name, DnsRecord.id)


async def create(work: Work, zone: Zone, values: RecordValues) -> DnsRecord:
    """Make a record. Cancel undoes it.

    Raises:
        Conflict: the name has one.
        Invalid: it leads to no tunnel.
    """
    name = name_in_zone(values.name, zone.name)
    if await _by_name(work.session, name) is not None:
        raise Conflict("An A, AAAA, or CNAME record with that host already exists.", NAME_TAKEN)
    record = DnsRecord(
        id=uuid.uuid4().hex, zone_id=zone.id, name=name, type="CNAME", content="", ttl=1, proxied=True, comment=None,
        tags=[], created_at=work.now, modified_at=work.now,
    )  # fmt: skip
    work.session.add(record)
    _set(record, values, name)
    _changed(work, record, "create")
    return record


async def edit(work: Work, zone: Zone, record_id: str, values: RecordValues) -> DnsRecord:
    """Let a record be as `values` says. Cancel undoes it.

    Raises:
        StoreError: there is no such record, its new name has one, or it would lead to no tunnel.
    """
    record = await find(work.session, zone, record_id)
    name = name_in_zone(values.name, zone.name)
    if name != record.name:
        if await _by_name(work.session, name) is not None:
            raise Conflict("An A, AAAA, or CNAME record with that host already exists.", NAME_TAKEN)
        work.publish("name", record.name, None)
    _set(record, values, name)
    record.modified_at = work.now
    _changed(work, record, "update")
    return record


async def remove(work: Work, zone: Zone, record_id: str) -> DnsRecord:
    """Delete a record. Cancel undoes it.

    Raises:
        NotFound: there is none.
    """
    record = await find(work.session, zone, record_id)
    await work.session.delete(record)
    work.publish("name", record.name, None)
    work.audit(
        Entry(
            action="delete", resource_type="dns_record", resource_id=record.id, zone_id=zone.id,
            description=f"Deleted record {record.name}", response={"id": record.id, "name": record.name},
        )
    )  # fmt: skip
    return record


async def route(work: Work, zone: Zone, tunnel_id: str, hostname: str, *, overwrite: bool) -> tuple[str, DnsRecord]:
    """Lead a name to a tunnel; return `new`, `updated` or `unchanged`, and the record. Cancel undoes it.

    Raises:
        NotFound: there is no such tunnel.
        Conflict: the name leads elsewhere, and `overwrite` is not given.
    """
    tunnel = await tunnels.find(work.session, work.account_id, tunnel_id)
    values = RecordValues(name=hostname, content=tunnel.id + TUNNEL_SUFFIX)
    record = await _by_name(work.session, name_in_zone(hostname, zone.name))
    if record is None:
        return "new", await create(work, zone, values)
    if record.content == values.content:
        return "unchanged", record
    if not overwrite:
        raise Conflict(
            "Failed to create record: an A, AAAA, or CNAME record with that host already exists.", ROUTE_TAKEN
        )
    return "updated", await edit(work, zone, record.id, values)


def edge_value(record: DnsRecord) -> dict[str, Any]:
    """Return what edges need to know."""
    return {"tunnel_id": record.content.removesuffix(TUNNEL_SUFFIX)}


async def _by_name(session: AsyncSession, name: str) -> DnsRecord | None:
    return (await session.execute(select(DnsRecord).where(DnsRecord.name == name))).scalar_one_or_none()


def _set(record: DnsRecord, values: RecordValues, name: str) -> None:
    content = values.content.removesuffix(".").lower()
    try:
        if not content.endswith(TUNNEL_SUFFIX):
            raise ValueError
        tunnel_id = str(uuid.UUID(content.removesuffix(TUNNEL_SUFFIX)))
    except ValueError:
        raise Invalid(
            f"A record here leads to a tunnel: its content is <tunnel id>{TUNNEL_SUFFIX}.", BAD_RECORD
        ) from None
    record.name, record.content = name, tunnel_id + TUNNEL_SUFFIX
    record.ttl, record.proxied, record.comment, record.tags = (
        values.ttl, values.proxied, values.comment, list(values.tags),
    )  # fmt: skip


def _changed(work: Work, record: DnsRecord, action: str) -> None:
    work.publish("name", record.name, edge_value(record))
    work.audit(
        Entry(
            action=action, resource_type="dns_record", resource_id=record.id, zone_id=record.zone_id,
            description=f"{action.capitalize()}d record {record.name}",
            response={"id": record.id, "name": record.name, "content": record.content},
        )
    )  # fmt: skip
