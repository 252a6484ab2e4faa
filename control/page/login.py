"""The page's requests about `cert.pem`: handed out to a command that asked for it by `tunnel login`, or downloaded."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from pyconnector.control.login.grant import NEEDED, grant, may_grant
from pyconnector.control.login.transfers import code_of, key_of
from pyconnector.control.page import requests
from pyconnector.control.store.objects import dns

if TYPE_CHECKING:
    from pyconnector.control.api.guard import Served
    from pyconnector.control.store.work import Actor, Work

router = APIRouter(include_in_schema=False)


@router.get("/ui/login")
async def get_login(request: Request) -> Response:
    """Ask whether the command whose key is in `callback` is to get a certificate."""
    return await requests.answered(request, _ask)


@router.post("/ui/login")
async def post_login(request: Request) -> Response:
    """Hand a certificate out to the command."""
    return await requests.answered(request, _hand_out)


@router.post("/ui/cert.pem")
async def post_certificate(request: Request) -> Response:
    """Make a certificate and let the browser keep it."""
    return await requests.answered(request, _download)


async def _ask(request: Request, served: Served) -> Response:
    key = _key(request.query_params.get("callback", ""))
    found = await requests.signed_in(request, served)
    if found is None:
        return requests.page("sign_in.html", 200, problem="", login=key)
    session, actor = found
    _check(actor)
    async with served.database.read() as reading:
        zones = await dns.zones_of(reading, actor.account_id)
    return requests.page(
        "login.html", 200, key=key, code=code_of(key), zones=zones, form_key=session.form_key, who=actor.token_name,
        done=False,
    )  # fmt: skip


async def _hand_out(request: Request, served: Served) -> Response:
    fields, actor = await requests.own_form(request, served)
    key = _key(fields.get("key", ""))
    served.transfers.offer(key, await _made(request, served, fields, actor), time.monotonic())
    return requests.page("login.html", 200, code=code_of(key), done=True)


async def _download(request: Request, served: Served) -> Response:
    fields, actor = await requests.own_form(request, served)
    pem = await _made(request, served, fields, actor)
    headers = {**requests.HEADERS, "Content-Disposition": 'attachment; filename="cert.pem"'}
    return Response(pem, media_type="application/x-pem-file", headers=headers)


async def _made(request: Request, served: Served, fields: dict[str, str], actor: Actor) -> str:
    _check(actor)
    scheme = "https" if requests.is_secure(request) else "http"
    api_url = f"{scheme}://{request.headers['host']}/client/v4"

    async def operation(work: Work) -> Any:
        return await grant(work, fields.get("zone_id", "")[:100], api_url=api_url)

    made: str = await served.database.write(actor, operation)
    return made


def _check(actor: Actor) -> None:
    if not may_grant(actor.scopes):
        raise requests.Refused(
            403, f"The token cannot hand out a certificate: it lacks {NEEDED}, or has nothing to give."
        )


def _key(callback: str) -> str:
    key = key_of(callback)
    if key is None:
        raise requests.Refused(400, "That is no address that `tunnel login` printed: it ends with a key.")
    return key
