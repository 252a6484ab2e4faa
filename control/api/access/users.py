"""People who logged in: `/accounts/{a}/access/users`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import JSONResponse

from pyconnector.control.api.context import Ctx, Paging, needs
from pyconnector.control.api.envelope import success, time_text
from pyconnector.control.api.fields import Text
from pyconnector.control.store.access import people
from pyconnector.control.store.access.tables import User

READ = [needs("access:read")]
router = APIRouter(tags=["Access users"])
_PATH = "/accounts/{account_id}/access/users"


@router.get(_PATH, dependencies=READ)
async def list_users(context: Ctx, page: Paging, email: Text | None = None) -> JSONResponse:
    """List people, who was seen first first."""
    async with context.read() as session:
        found = await people.listed(session, context.account_id, page, email)
    return success([_json(row) for row in found.rows], found)


def _json(row: User) -> dict[str, Any]:
    return {
        "id": row.id,
        "uid": row.id,
        "email": row.email,
        "name": row.name,
        "access_seat": True,
        "gateway_seat": False,
        "last_successful_login": time_text(row.last_successful_login),
        "created_at": time_text(row.created_at),
        "updated_at": time_text(row.updated_at),
    }
