"""Accounts and zones, as far as clients look ids up: `/accounts`, `/zones`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from sqlalchemy import select
from starlette.responses import JSONResponse

from pyconnector.control.api.context import Ctx, Paging, needs
from pyconnector.control.api.envelope import success, time_text
from pyconnector.control.api.fields import Hex, Text
from pyconnector.control.store.models import Account, Zone
from pyconnector.control.store.objects import dns
from pyconnector.control.store.pages import fetch_page

router = APIRouter(tags=["Accounts and zones"])


@router.get("/accounts")
async def list_accounts(context: Ctx, page: Paging, name: Text | None = None) -> JSONResponse:
    """List the account that the token is for."""
    statement = select(Account).where(Account.id == context.account_id)
    if name is not None:
        statement = statement.where(Account.name == name)
    async with context.read() as session:
        found = await fetch_page(session, statement, page, Account.id)
    return success([_account(row) for row in found.rows], found)


@router.get("/accounts/{account_id}", dependencies=[needs("tunnels:read")])
async def get_account(context: Ctx) -> JSONResponse:
    """Return the account."""
    async with context.read() as session:
        return success(_account(await session.get_one(Account, context.account_id)))


@router.get("/zones", dependencies=[needs("dns:read")])
async def list_zones(context: Ctx, page: Paging, name: Text | None = None) -> JSONResponse:
    """List zones by name."""
    statement = select(Zone).where(Zone.account_id == context.account_id)
    if name is not None:
        statement = statement.where(Zone.name == name.lower())
    async with context.read() as session:
        found = await fetch_page(session, statement, page, Zone.name)
        account = await session.get_one(Account, context.account_id)
    return success([_zone(row, account) for row in found.rows], found)


@router.get("/zones/{zone_id}", dependencies=[needs("dns:read")])
async def get_zone(context: Ctx, zone_id: Hex) -> JSONResponse:
    """Return a zone."""
    async with context.read() as session:
        zone = await dns.zone_of(session, context.account_id, zone_id)
        return success(_zone(zone, await session.get_one(Account, context.account_id)))


def _account(row: Account) -> dict[str, Any]:
    return {
        "id": row.id, "name": row.name, "type": "standard", "settings": {}, "created_on": time_text(row.created_at),
    }  # fmt: skip


def _zone(row: Zone, account: Account) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "status": "active",
        "type": "full",
        "paused": False,
        "account": {"id": account.id, "name": account.name},
        "created_on": time_text(row.created_at),
        "activated_on": time_text(row.created_at),
    }
