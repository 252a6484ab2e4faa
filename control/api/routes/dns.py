"""Public names: `/zones/{z}/dns_records`, and `/zones/{z}/tunnels/{t}/routes` as `cloudflared tunnel route` asks."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from pydantic import Field
from starlette.responses import JSONResponse

from pyconnector.control.api.context import Ctx, Paging, needs
from pyconnector.control.api.envelope import success, time_text
from pyconnector.control.api.fields import Body, Hex, Id, Text
from pyconnector.control.store.errors import Invalid
from pyconnector.control.store.models import DnsRecord
from pyconnector.control.store.objects import dns
from pyconnector.control.store.work import Work

READ, EDIT = [needs("dns:read")], [needs("dns:edit")]
router = APIRouter(tags=["DNS"])
Tags = Annotated[list[Text], Field(max_length=50)]
Ttl = Annotated[int, Field(ge=1, le=86_400)]


class NewRecord(Body):
    """A record to be made, or as it is to be. Only CNAME records to tunnels are served here."""

    name: Text
    type: Literal["CNAME"]
    content: Text
    ttl: Ttl = 1
    proxied: bool = True
    comment: Text | None = None
    tags: Annotated[Tags, Field(default_factory=list)]
    settings: dict[str, Any] | None = None


class RecordChanges(Body):
    """What is to be different."""

    name: Text | None = None
    type: Literal["CNAME"] | None = None
    content: Text | None = None
    ttl: Ttl | None = None
    proxied: bool | None = None
    comment: Text | None = None
    tags: Tags | None = None
    settings: dict[str, Any] | None = None


class TunnelRoute(Body):
    """A name to be led to a tunnel."""

    type: Text
    user_hostname: Text | None = None
    overwrite_existing: bool = False
    lb_name: Text | None = None
    lb_pool: Text | None = None


def _filter(name: Text | None = None, content: Text | None = None, type: Text | None = None) -> dns.RecordFilter:
    return dns.RecordFilter(name=name, content=content, type=type)


@router.get("/zones/{zone_id}/dns_records", dependencies=READ)
async def list_records(
    context: Ctx, zone_id: Hex, page: Paging, wanted: Annotated[dns.RecordFilter, Depends(_filter)]
) -> JSONResponse:
    """List records by name."""
    async with context.read() as session:
        zone = await dns.zone_of(session, context.account_id, zone_id)
        found = await dns.listed(session, zone, wanted, page)
    return success([_json(record, zone.name) for record in found.rows], found)


@router.post("/zones/{zone_id}/dns_records", dependencies=EDIT)
async def create_record(context: Ctx, zone_id: Hex, body: NewRecord) -> JSONResponse:
    """Make a record."""

    async def operation(work: Work) -> dict[str, Any]:
        zone = await dns.zone_of(work.session, work.account_id, zone_id)
        return _json(await dns.create(work, zone, _values(body)), zone.name)

    return success(await context.write(operation))


@router.get("/zones/{zone_id}/dns_records/{record_id}", dependencies=READ)
async def get_record(context: Ctx, zone_id: Hex, record_id: Hex) -> JSONResponse:
    """Return a record."""
    async with context.read() as session:
        zone = await dns.zone_of(session, context.account_id, zone_id)
        return success(_json(await dns.find(session, zone, record_id), zone.name))


@router.put("/zones/{zone_id}/dns_records/{record_id}", dependencies=EDIT)
async def put_record(context: Ctx, zone_id: Hex, record_id: Hex, body: NewRecord) -> JSONResponse:
    """Let a record be as the body says."""

    async def operation(work: Work) -> dict[str, Any]:
        zone = await dns.zone_of(work.session, work.account_id, zone_id)
        return _json(await dns.edit(work, zone, record_id, _values(body)), zone.name)

    return success(await context.write(operation))


@router.patch("/zones/{zone_id}/dns_records/{record_id}", dependencies=EDIT)
async def edit_record(context: Ctx, zone_id: Hex, record_id: Hex, body: RecordChanges) -> JSONResponse:
    """Change what the body names."""
    given = body.model_dump(exclude_unset=True, exclude={"type", "settings"})

    async def operation(work: Work) -> dict[str, Any]:
        zone = await dns.zone_of(work.session, work.account_id, zone_id)
        record = await dns.find(work.session, zone, record_id)
        present = {
            "name": record.name, "content": record.content, "ttl": record.ttl, "proxied": record.proxied,
            "comment": record.comment, "tags": tuple(record.tags),
        }  # fmt: skip
        changes = {name: value for name, value in given.items() if value is not None or name == "comment"}
        values = dns.RecordValues(**{**present, **changes})
        return _json(await dns.edit(work, zone, record_id, values), zone.name)

    return success(await context.write(operation))


@router.delete("/zones/{zone_id}/dns_records/{record_id}", dependencies=EDIT)
async def delete_record(context: Ctx, zone_id: Hex, record_id: Hex) -> JSONResponse:
    """Delete a record."""

    async def operation(work: Work) -> dict[str, Any]:
        zone = await dns.zone_of(work.session, work.account_id, zone_id)
        return {"id": (await dns.remove(work, zone, record_id)).id}

    return success(await context.write(operation))


@router.put("/zones/{zone_id}/tunnels/{tunnel_id}/routes", dependencies=EDIT)
async def route_name(context: Ctx, zone_id: Hex, tunnel_id: Id, body: TunnelRoute) -> JSONResponse:
    """Lead a name to a tunnel; one outside the zone has the zone's name appended, and the answer says so."""
    if body.type != "dns":
        raise Invalid("Only routes of type dns are here; there are no load balancers.", 1003)
    if not body.user_hostname:
        raise Invalid("user_hostname is missing.", 1003)
    hostname = body.user_hostname

    async def operation(work: Work) -> dict[str, Any]:
        zone = await dns.zone_of(work.session, work.account_id, zone_id)
        verdict, record = await dns.route(work, zone, tunnel_id, hostname, overwrite=body.overwrite_existing)
        return {"cname": verdict, "name": record.name, "dns_tag": record.id}

    return success(await context.write(operation))


def _values(body: NewRecord) -> dns.RecordValues:
    return dns.RecordValues(
        name=body.name, content=body.content, ttl=body.ttl, proxied=body.proxied, comment=body.comment,
        tags=tuple(body.tags),
    )  # fmt: skip


def _json(record: DnsRecord, zone_name: str) -> dict[str, Any]:
    return {
        "id": record.id,
        "zone_id": record.zone_id,
        "zone_name": zone_name,
        "name": record.name,
        "type": record.type,
        "content": record.content,
        "ttl": record.ttl,
        "proxied": record.proxied,
        "proxiable": True,
        "comment": record.comment,
        "tags": record.tags,
        "settings": {},
        "meta": {},
        "created_on": time_text(record.created_at),
        "modified_on": time_text(record.modified_at),
    }
