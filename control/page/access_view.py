"""What the page shows of Access: who may pass where, and who just asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from pyconnector.control.store.access import service_tokens
from pyconnector.control.store.access.tables import Application, Group, Policy, ServiceToken
from pyconnector.control.store.logs import edge_logs

if TYPE_CHECKING:
    import datetime

    from sqlalchemy.ext.asyncio import AsyncSession

#: Records that are shown.
MAX_RECORDS = 50


async def access_of(session: AsyncSession, account_id: str, limit: int, now: datetime.datetime) -> dict[str, Any]:
    """Return applications, policies and service tokens; never a secret. Cancel reads nothing more."""
    apps = await _rows(session, Application, account_id, limit)
    policies = await _rows(session, Policy, account_id, limit)
    tokens = await _rows(session, ServiceToken, account_id, limit)
    groups = await _rows(session, Group, account_id, limit)
    seen = await service_tokens.last_seen(session, [row.id for row in tokens])
    names = {row.id: row.name for row in (*policies, *tokens, *groups)}
    return {
        "applications": [
            {"name": row.name, "places": row.places, "policies": [names.get(each, each) for each in row.policies]}
            for row in apps
        ],
        "policies": [
            {
                "name": row.name, "decision": row.decision, "revision": row.revision,
                "include": _rules(row.include, names), "require": _rules(row.require, names),
                "exclude": _rules(row.exclude, names),
            }
            for row in policies
        ],
        "service_tokens": [
            {
                "name": row.name, "client_id": row.client_id, "role": row.role, "labels": row.labels,
                "state": _state(row, now), "expires": _moment(row.expires_at), "seen": _moment(seen.get(row.id)),
            }
            for row in tokens
        ],
    }  # fmt: skip


async def last_records(session: AsyncSession) -> list[dict[str, str]]:
    """Return the last requests and flows of all edges, the newest first. Cancel reads nothing more."""
    return [_record(record) for record in await edge_logs.last_records(session, MAX_RECORDS)]


def _record(record: dict[str, Any]) -> dict[str, str]:
    def text(*names: str) -> str:
        return next((str(record[name]) for name in names if record.get(name) not in (None, "")), "")

    return {
        "time": text("Datetime").replace("T", " ").removesuffix("Z"),
        "who": text("Email", "ServiceTokenName", "ActorType"),
        "address": text("SourceIP"),
        "what": f"{text('HTTPMethod', 'Protocol')} {text('HTTPHost', 'RequestedHost')}{text('URL')}",
        "status": text("HTTPStatusCode", "ConnectionCloseReason"),
        "verdict": "allow" if record.get("Allowed") else "block",
        "reason": text("Reason"),
        "edge": text("ColoName", "IngressColoName"),
    }


async def _rows(session: AsyncSession, table: Any, account_id: str, limit: int) -> list[Any]:
    statement = select(table).where(table.account_id == account_id).order_by(table.name, table.id).limit(limit)
    return list((await session.execute(statement)).scalars())


def _rules(rules: list[dict[str, Any]], names: dict[str, str]) -> list[str]:
    told = []
    for rule in rules:
        kind, value = next(iter(rule.items()), ("", {}))
        inner = next((str(each) for each in value.values()), "") if isinstance(value, dict) else ""
        told.append(f"{kind.replace('_', ' ')} {names.get(inner, inner)}".strip())
    return told


def _state(row: ServiceToken, now: datetime.datetime) -> str:
    if not row.enabled:
        return "disabled"
    return "expired" if row.expires_at is not None and row.expires_at <= now else "active"


def _moment(moment: datetime.datetime | None) -> str:
    return "" if moment is None else moment.strftime("%Y-%m-%d %H:%M")
