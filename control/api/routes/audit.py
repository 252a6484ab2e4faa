"""The audit log: `/accounts/{a}/logs/audit`."""

from __future__ import annotations

import datetime
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import JSONResponse

from pyconnector.control.api.context import Ctx, needs
from pyconnector.control.api.envelope import success, time_text
from pyconnector.control.api.fields import Text
from pyconnector.control.store import audit
from pyconnector.control.store.errors import Invalid
from pyconnector.control.store.models import Account, AuditRecord

#: Records in one answer.
MAX_LIMIT = 1000
#: Filters of the API and the columns that they look at.
FILTERS = {
    "id": "id",
    "action_type": "action",
    "actor_token_id": "token_id",
    "actor_token_name": "token_name",
    "actor_ip_address": "ip_address",
    "resource_id": "resource_id",
    "resource_type": "resource_type",
    "raw_method": "method",
    "raw_uri": "uri",
    "zone_id": "zone_id",
}
_KNOWN = {"since", "before", "limit", "direction", "cursor"}
router = APIRouter(tags=["Audit log"])


def _query(
    since: Text,
    before: Text,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 100,
    direction: Literal["desc", "asc"] = "desc",
    cursor: Text | None = None,
) -> audit.AuditQuery:
    return audit.AuditQuery(
        since=_moment(since), before=_end(before), newest_first=direction == "desc", limit=limit, cursor=cursor
    )


@router.get("/accounts/{account_id}/logs/audit", dependencies=[needs("audit:read")])
async def list_audit(
    context: Ctx, request: Request, query: Annotated[audit.AuditQuery, Depends(_query)]
) -> JSONResponse:
    """List changes from `since` to `before`: dates, the last one included, or moments."""
    query = replace(query, equal=_filters(request))
    async with context.read() as session:
        rows, following = await audit.listed(session, context.account_id, query)
        account = await session.get_one(Account, context.account_id)
    info = {"count": len(rows), "cursors": {"after": following or ""}}
    return success([_json(row, account.name) for row in rows], info=info)


def _filters(request: Request) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        key = name.removesuffix("[]").replace(".", "_")
        if key in FILTERS:
            found.setdefault(FILTERS[key], []).append(value.replace("\0", ""))
        elif name not in _KNOWN:
            # A filter that is passed over would show more than was asked for.
            raise Invalid(f"{name[:100]!r} is no filter of this log.", 1001)
    return found


def _moment(text: str) -> datetime.datetime:
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise Invalid(f"{text!r} is no date or moment.", 1001) from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=datetime.UTC)


def _end(text: str) -> datetime.datetime:
    moment = _moment(text)
    if len(text) > len("2026-01-01"):
        return moment
    try:
        return moment + datetime.timedelta(days=1)
    except OverflowError:
        return moment


def _json(row: AuditRecord, account_name: str) -> dict[str, Any]:
    return {
        "id": row.id,
        "account": {"id": row.account_id, "name": account_name},
        "action": {
            "description": row.description, "result": "success", "time": time_text(row.time), "type": row.action,
        },
        "actor": {
            "id": row.token_id,
            "context": "api_token" if row.token_id else "api",
            "ip_address": row.ip_address,
            "token_id": row.token_id,
            "token_name": row.token_name,
            "type": "account" if row.token_id else "system",
        },
        "raw": {"method": row.method, "status_code": 200, "uri": row.uri, "user_agent": row.user_agent},
        "resource": {
            "id": row.resource_id,
            "product": "mesh",
            "request": row.request,
            "response": row.response,
            "scope": "zones" if row.zone_id else "accounts",
            "type": row.resource_type,
        },
        "zone": {"id": row.zone_id} if row.zone_id else None,
    }  # fmt: skip
