"""The page's requests: `/ui`. Sign-in by an API token, then a cookie that no other site can use."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, RedirectResponse, Response

from pyconnector.control.api.routes.tunnel_form import token_of
from pyconnector.control.login.grant import may_grant
from pyconnector.control.login.transfers import is_key
from pyconnector.control.page.requests import (
    HEADERS,
    HERE,
    Refused,
    answered,
    is_secure,
    own_form,
    page,
    read_form,
    signed_in,
)
from pyconnector.control.page.sessions import COOKIE
from pyconnector.control.page.view import everything
from pyconnector.control.store.objects import dns, tokens, tunnels

if TYPE_CHECKING:
    from pyconnector.control.api.guard import Served
    from pyconnector.control.store.work import Work

router = APIRouter(include_in_schema=False)
_STATIC = {"page.css": "text/css", "page.js": "text/javascript"}


@router.get("/")
async def to_page() -> Response:
    """Lead whoever opens the address to the page."""
    return RedirectResponse("/ui", headers=HEADERS)


@router.get("/ui/static/{name}")
async def get_static(name: str) -> Response:
    """Return the page's style or its script."""
    if name not in _STATIC:
        return page("sign_in.html", 404, problem="There is no such file.")
    return FileResponse(HERE / "static" / name, media_type=_STATIC[name], headers=HEADERS)


@router.get("/ui")
async def get_page(request: Request) -> Response:
    """Return the page, or what asks for a token."""
    return await answered(request, _show)


@router.get("/ui/live")
async def get_live(request: Request) -> Response:
    """Return what changes on the page, for its script."""
    return await answered(request, _show_live)


@router.post("/ui/sign-in")
async def post_sign_in(request: Request) -> Response:
    """Begin a session for a token."""
    return await answered(request, _sign_in)


@router.post("/ui/sign-out")
async def post_sign_out(request: Request) -> Response:
    """End the session."""
    return await answered(request, _sign_out)


@router.post("/ui/tunnels")
async def post_tunnel(request: Request) -> Response:
    """Make a tunnel, perhaps with a name, and show its run line."""
    return await answered(request, _create, _show_problem)


async def _show(
    request: Request, served: Served, *, status: int = 200, problem: str = "", made: dict[str, str] | None = None
) -> Response:
    found = await signed_in(request, served)
    if found is None:
        return page("sign_in.html", status if problem else 200, problem=problem)
    session, actor = found
    async with served.database.read() as reading:
        shown = await everything(reading, actor.account_id, actor.scopes, served.database.now())
        zones = await dns.zones_of(reading, actor.account_id) if may_grant(actor.scopes) else []
    return page(
        "page.html", status, shown=shown, form_key=session.form_key, problem=problem, made=made,
        zone=served.installation.zone_name, may_create="tunnels:edit" in actor.scopes, who=actor.token_name,
        zones=zones,
    )  # fmt: skip


async def _show_problem(request: Request, served: Served, problem: str) -> Response:
    return await _show(request, served, problem=problem, status=400)


async def _show_live(request: Request, served: Served) -> Response:
    found = await signed_in(request, served)
    if found is None:
        raise Refused(403, "Sign in first.")
    async with served.database.read() as reading:
        shown = await everything(reading, found[1].account_id, found[1].scopes, served.database.now())
    return page("live.html", 200, shown=shown)


async def _sign_in(request: Request, served: Served) -> Response:
    fields = await read_form(request)
    address = request.client.host if request.client else ""
    text = fields.get("token", "").strip()
    async with served.database.read() as reading:
        row = await tokens.verify(reading, text, served.database.now()) if text else None
    if row is None:
        if not served.failures.count(address, time.monotonic()):
            raise Refused(429, "Too many invalid tokens were tried from there; wait a minute.")
        raise Refused(403, "That token is invalid or has expired.")
    cookie = served.sessions.begin(row.digest, time.monotonic())
    key = fields.get("login", "")
    where = f"/ui/login?callback={quote(key)}" if is_key(key) else "/ui"
    answer = RedirectResponse(where, 303, headers=HEADERS)
    answer.set_cookie(COOKIE, cookie, path="/ui", httponly=True, samesite="strict", secure=is_secure(request))
    return answer


async def _sign_out(request: Request, served: Served) -> Response:
    await own_form(request, served)
    served.sessions.end(request.cookies.get(COOKIE, ""))
    answer = RedirectResponse("/ui", 303, headers=HEADERS)
    answer.delete_cookie(COOKIE, path="/ui", httponly=True, samesite="strict")
    return answer


async def _create(request: Request, served: Served) -> Response:
    fields, actor = await own_form(request, served)
    if "tunnels:edit" not in actor.scopes:
        raise Refused(403, "The token lacks the scope tunnels:edit.")
    name, hostname = fields.get("name", "").strip(), fields.get("hostname", "").strip()
    if not name or len(name) > 255 or not name.isprintable():
        return await _show(request, served, status=400, problem="A tunnel needs a name of at most 255 characters.")
    if hostname and "dns:edit" not in actor.scopes:
        raise Refused(403, "The token lacks the scope dns:edit.")

    async def operation(work: Work) -> dict[str, str]:
        tunnel = await tunnels.create(work, name=name, secret=None, config_src="local")
        await work.session.flush()
        routed = ""
        if hostname:
            zone = await dns.zone_of(work.session, work.account_id, served.installation.zone_id)
            _, record = await dns.route(work, zone, tunnel.id, hostname, overwrite=False)
            routed = record.name
        return {"name": tunnel.name, "id": tunnel.id, "token": token_of(tunnel), "hostname": routed}

    made = await served.database.write(actor, operation)
    async with served.database.read() as reading:
        edges = (await everything(reading, actor.account_id, actor.scopes, served.database.now()))["edges"]
    addresses = " ".join(f"--edge {edge['address']}" for edge in edges if edge["address"] and not edge["draining"])
    made["line"] = (
        f"TUNNEL_TOKEN={made['token']} pyconnector run {addresses} --cacert ca.pem --url http://localhost:8000"
    )
    return await _show(request, served, made=made)
