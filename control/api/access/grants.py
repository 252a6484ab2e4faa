"""Grants, an extension: `/accounts/{a}/access/grants`. What they mean is in docs/guide/files.md."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import AfterValidator, Field
from starlette.responses import JSONResponse

from pyconnector.control.api.context import Ctx, Paging, needs
from pyconnector.control.api.envelope import success, time_text
from pyconnector.control.api.fields import Body, Id, Name, Text
from pyconnector.control.store.access import grants
from pyconnector.control.store.access.tables import Grant
from pyconnector.control.store.work import Work

READ, EDIT = [needs("access:read")], [needs("access:edit")]
router = APIRouter(tags=["Access grants"])
_PATH = "/accounts/{account_id}/access/grants"
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


def _host(text: str) -> str:
    host = text.lower().removesuffix(".")
    if not _HOST.fullmatch(host):
        raise ValueError("it is no name of a host, without a port")
    return host


class NewGrant(Body):
    """Who may read what, and for how many seconds. `token` is the name or the id of a service token."""

    token: Name
    host: Annotated[Text, AfterValidator(_host)]
    path: Text = "/"
    seconds: Annotated[int, Field(ge=1, le=10**9)] = 1800


@router.get(_PATH, dependencies=READ)
async def list_grants(context: Ctx, page: Paging) -> JSONResponse:
    """List grants, the oldest first; not their tokens, which are not kept."""
    async with context.read() as session:
        found = await grants.listed(session, context.account_id, page)
    return success([_json(row) for row in found.rows], found)


@router.post(_PATH, dependencies=EDIT)
async def create_grant(context: Ctx, body: NewGrant) -> JSONResponse:
    """Make a grant. The answer alone holds its token."""

    async def operation(work: Work) -> dict[str, Any]:
        made = await grants.create(work, token=body.token, host=body.host, path=body.path, seconds=body.seconds)
        return {**_json(made.row), "token": made.token}

    return success(await context.write(operation))


@router.delete(_PATH + "/{grant_id}", dependencies=EDIT)
async def delete_grant(context: Ctx, grant_id: Id) -> JSONResponse:
    """End a grant, and what runs under it."""

    async def operation(work: Work) -> dict[str, Any]:
        return _json(await grants.remove(work, grant_id))

    return success(await context.write(operation))


def _json(row: Grant) -> dict[str, Any]:
    return {
        "id": row.id, "token_id": row.token_id, "token_name": row.token_name, "application_id": row.application_id,
        "host": row.host, "path": row.path, "url": f"https://{row.host}{row.path}",
        "created_at": time_text(row.created_at), "expires_at": time_text(row.expires_at),
    }  # fmt: skip
