"""The organization: what holds for all applications of an account."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from pyconnector.control.store.access.durations import seconds_of
from pyconnector.control.store.access.tables import Organization
from pyconnector.control.store.models import Account, Zone
from pyconnector.control.store.objects.names import hostname_of
from pyconnector.control.store.work import Entry

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from pyconnector.control.store.work import Work

BAD_ORGANIZATION = 12_140
#: Days for which a key signs (access.md 5), and for which it may.
DEFAULT_ROTATION, MIN_ROTATION, MAX_ROTATION = 42, 21, 365


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganizationFields:
    """What is to be set; None leaves a field as it is."""

    name: str | None = None
    auth_domain: str | None = None
    session_duration: str | None = None
    deny_unmatched_requests: bool | None = None
    key_rotation_interval_days: int | None = None


async def find(session: AsyncSession, account_id: str) -> Organization | None:
    """Return the organization, if anything was ever made of Access. Cancel changes nothing."""
    return await session.get(Organization, account_id)


async def ensure(work: Work) -> Organization:
    """Return the organization, made at the first need: named as the account, issuing as `access.ZONE`."""
    row = await find(work.session, work.account_id)
    if row is not None:
        return row
    account = await work.session.get_one(Account, work.account_id)
    zones = select(Zone).where(Zone.account_id == work.account_id).order_by(Zone.created_at)
    zone = (await work.session.execute(zones)).scalars().first()
    row = Organization(
        id=work.account_id, name=account.name, auth_domain=f"access.{zone.name if zone else 'localhost'}",
        session_duration="24h", deny_unmatched_requests=False, key_rotation_interval_days=DEFAULT_ROTATION,
        created_at=work.now, updated_at=work.now,
    )  # fmt: skip
    work.session.add(row)
    await work.session.flush()
    work.publish("access_organization", row.id, edge_value(row))
    return row


async def edit(work: Work, fields: OrganizationFields) -> Organization:
    """Change what is given. Cancel undoes it.

    Raises:
        Invalid: a field makes no sense.
    """
    row = await ensure(work)
    if fields.name is not None:
        row.name = fields.name
    if fields.auth_domain is not None:
        row.auth_domain = hostname_of(fields.auth_domain)
    if fields.session_duration is not None:
        seconds_of(fields.session_duration, BAD_ORGANIZATION)
        row.session_duration = fields.session_duration
    if fields.deny_unmatched_requests is not None:
        row.deny_unmatched_requests = fields.deny_unmatched_requests
    if fields.key_rotation_interval_days is not None:
        row.key_rotation_interval_days = fields.key_rotation_interval_days
    row.updated_at = work.now
    work.publish("access_organization", row.id, edge_value(row))
    told = {
        "name": row.name, "auth_domain": row.auth_domain, "session_duration": row.session_duration,
        "deny_unmatched_requests": row.deny_unmatched_requests,
        "key_rotation_interval_days": row.key_rotation_interval_days,
    }  # fmt: skip
    work.audit(
        Entry(
            action="update", resource_type="access_organization", resource_id=row.id,
            description="Updated the Access organization", response=told,
        )
    )  # fmt: skip
    return row


def edge_value(row: Organization) -> dict[str, Any]:
    """Return what edges need to know."""
    return {
        "auth_domain": row.auth_domain, "deny_unmatched": row.deny_unmatched_requests, "name": row.name,
        "session_seconds": seconds_of(row.session_duration, BAD_ORGANIZATION),
    }  # fmt: skip
