"""The login log: `/accounts/{a}/access/logs/access_requests`."""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import JSONResponse

from pyconnector.control.api.context import MAX_PAGE, Ctx, needs
from pyconnector.control.api.envelope import success, time_text
from pyconnector.control.api.fields import Text
from pyconnector.control.store.errors import Invalid
from pyconnector.control.store.logs import access_requests
from pyconnector.control.store.logs.access_requests import LogQuery
from pyconnector.control.store.logs.tables import AccessRequest
from pyconnector.control.store.pages import MAX_PER_PAGE, PageRequest

router = APIRouter(tags=["Access logs"])
Operator = Literal["eq", "neq"]
#: Parameters that are taken; operators of filters that are not there do nothing by themselves.
_KNOWN = {
    "limit", "page", "per_page", "direction", "since", "until", "email", "email_exact", "emailOp", "allowed",
    "allowedOp", "app_uid", "app_uidOp", "ray_id", "ray_idOp", "fields", "user_id", "user_idOp", "country_codeOp",
    "idpOp", "app_typeOp", "non_identityOp",
}  # fmt: skip


def _paging(
    page: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 1,
    per_page: Annotated[int | None, Query(ge=1, le=MAX_PER_PAGE)] = None,
    limit: Annotated[int | None, Query(ge=1, le=MAX_PER_PAGE)] = None,
) -> PageRequest:
    return PageRequest(page=page, per_page=per_page or limit or 25)


def _query(request: Request, page: Annotated[PageRequest, Depends(_paging)]) -> LogQuery:
    given = dict(request.query_params)
    if unknown := sorted(set(given) - _KNOWN):
        # A filter that is passed over would show more than was asked for.
        raise Invalid(f"{unknown[0][:100]!r} is no filter of this log.", 1001)
    direction = given.get("direction", "desc")
    if direction not in ("asc", "desc"):
        raise Invalid("direction is asc or desc.", 1001)
    operator = given.get("emailOp", "")
    if operator not in ("", "eq", "neq", "contains"):
        raise Invalid("emailOp is eq, neq or contains.", 1001)
    exact = given.get("email_exact", "").lower() == "true"
    allowed = _pair(given, "allowed")
    if allowed is not None and allowed[0].lower() not in ("true", "false"):
        raise Invalid("allowed is true or false.", 1001)
    return LogQuery(
        page=page, newest_first=direction == "desc", since=_moment(given.get("since")),
        until=_moment(given.get("until")), email=given.get("email") or None,
        email_exact=exact or operator in ("eq",), email_other=operator == "neq",
        allowed=None if allowed is None else (allowed[0].lower() == "true", allowed[1]),
        app_uid=_pair(given, "app_uid"), ray_id=_pair(given, "ray_id"),
    )  # fmt: skip


@router.get("/accounts/{account_id}/access/logs/access_requests", dependencies=[needs("audit:read")])
async def list_access_requests(
    context: Ctx, query: Annotated[LogQuery, Depends(_query)], fields: Text | None = None
) -> JSONResponse:
    """List who was let in at applications, and who was not, the newest first."""
    async with context.read() as session:
        found = await access_requests.listed(session, context.account_id, query)
    rows = [_json(row) for row in found.rows]
    if fields:
        names = {name.strip() for name in fields.split(",")}
        rows = [{name: value for name, value in row.items() if name in names} for row in rows]
    return success(rows, found)


def _json(row: AccessRequest) -> dict[str, Any]:
    return {
        "user_email": row.user_email,
        "app_uid": row.app_uid,
        "action": "login",
        "allowed": row.allowed,
        "created_at": time_text(row.created_at),
        "ray_id": row.ray_id,
        "app_type": "self_hosted",
        **row.told,
    }


def _pair(given: dict[str, str], name: str) -> tuple[str, bool] | None:
    operator = given.get(f"{name}Op", "eq")
    if operator not in ("eq", "neq"):
        raise Invalid(f"{name}Op is eq or neq.", 1001)
    return None if not given.get(name) else (given[name].replace("\0", ""), operator == "neq")


def _moment(text: str | None) -> datetime.datetime | None:
    if not text:
        return None
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise Invalid(f"{text[:50]!r} is no date or moment.", 1001) from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=datetime.UTC)
