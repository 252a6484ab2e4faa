"""The form of every answer, as clients in the field parse it (api.md 2).

Success is 200 and nothing else; `messages` stays empty, since the reference fails over an object in it; `result` is
always there; and an error's Content-Type is exactly `application/json`.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from pyconnector.control.store.pages import Page


def success(result: Any, page: Page[Any] | None = None, info: dict[str, Any] | None = None) -> JSONResponse:
    """Return an answer with `result`, and with the place of its page in the whole list."""
    body: dict[str, Any] = {"success": True, "errors": [], "messages": [], "result": result}
    if page is not None:
        per_page = page.request.per_page
        body["result_info"] = {
            "count": len(page.rows), "page": page.request.page, "per_page": per_page, "total_count": page.total,
            "total_pages": -(-page.total // per_page),
        }  # fmt: skip
    if info is not None:
        body["result_info"] = info
    return JSONResponse(body, headers={"Cache-Control": "no-store"})


def failure(status: int, *errors: tuple[int, str]) -> JSONResponse:
    """Return an answer that says what went wrong, in numbers and sentences."""
    told = [{"code": code, "message": message} for code, message in errors]
    body = {"success": False, "errors": told, "messages": [], "result": None}
    return JSONResponse(body, status_code=status, headers={"Cache-Control": "no-store"})


def time_text(moment: datetime.datetime | None) -> str | None:
    """Return a moment as RFC 3339 in UTC; a client fails over a blank in place of the `T`."""
    if moment is None:
        return None
    return moment.astimezone(datetime.UTC).isoformat().replace("+00:00", "Z")
