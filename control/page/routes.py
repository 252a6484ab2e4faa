"""The page's requests: `/ui`. Sign-in by an API token, then a cookie that no other site can use."""

from __future__ import annotations

import datetime
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response

from pyconnector.control.api.guard import MAX_FORM, Served, read_body
from pyconnector.control.api.hosts import is_own_host
from pyconnector.control.api.routes.tunnel_form import token_of
from pyconnector.control.page.sessions import COOKIE, Session
from pyconnector.control.page.view import everything
from pyconnector.control.store.errors import StoreError, StoreUnavailable
from pyconnector.control.store.objects import dns, tokens, tunnels

if TYPE_CHECKING:
    from jinja2 import Environment

    from pyconnector.control.store.work import Actor, Work

router = APIRouter(include_in_schema=False)
_HERE = Path(__file__).parent
_STATIC = {"page.css": "text/css", "page.js": "text/javascript"}
#: Nothing but what this server sends runs, is loaded or is sent to; nobody frames it.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class _Refused(Exception):
    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@router.get("/")
async def to_page() -> Response:
    """Lead whoever opens the address to the page."""
    return RedirectResponse("/ui", headers=_HEADERS)


@router.get("/ui/static/{name}")
async def get_static(name: str) -> Response:
    """Return the page's style or its script."""
    if name not in _STATIC:
        return _page("sign_in.html", 404, problem="There is no such file.")
    return FileResponse(_HERE / "static" / name, media_type=_STATIC[name], headers=_HEADERS)


@router.get("/ui")
async def get_page(request: Request) -> Response:
    """Return the page, or what asks for a token."""
    return await _answered(request, _show)


@router.get("/ui/live")
async def get_live(request: Request) -> Response:
    """Return what changes on the page, for its script."""
    return await _answered(request, _show_live)


@router.post("/ui/sign-in")
async def post_sign_in(request: Request) -> Response:
    """Begin a session for a token."""
    return await _answered(request, _sign_in)


@router.post("/ui/sign-out")
async def post_sign_out(request: Request) -> Response:
    """End the session."""
    return await _answered(request, _sign_out)


@router.post("/ui/tunnels")
async def post_tunnel(request: Request) -> Response:
    """Make a tunnel, perhaps with a name, and show its run line."""
    return await _answered(request, _create)


async def _answered(request: Request, action: Any) -> Response:
    served: Served = request.scope["pyconnector.served"]
    try:
        if not is_own_host(request.headers.get("host", ""), served.hostnames):
            raise _Refused(421, "This control plane does not go by that name; --api-hostname gives it one.")
        if request.method == "POST" and request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
            raise _Refused(403, "The form was sent by another site.")
        answer: Response = await action(request, served)
    except _Refused as error:
        answer = _page("sign_in.html", error.status, problem=str(error))
    except StoreError as error:
        answer = await _show(request, served, problem=str(error), status=400)
    except StoreUnavailable as error:
        answer = _page("sign_in.html", 503, problem=str(error))
    return answer


async def _show(
    request: Request, served: Served, *, status: int = 200, problem: str = "", made: dict[str, str] | None = None
) -> Response:
    found = await _signed_in(request, served)
    if found is None:
        return _page("sign_in.html", status if problem else 200, problem=problem)
    session, actor = found
    async with served.database.read() as reading:
        shown = await everything(reading, actor.account_id, actor.scopes)
    return _page(
        "page.html", status, shown=shown, form_key=session.form_key, problem=problem, made=made,
        zone=served.installation.zone_name, may_create="tunnels:edit" in actor.scopes, who=actor.token_name,
    )  # fmt: skip


async def _show_live(request: Request, served: Served) -> Response:
    found = await _signed_in(request, served)
    if found is None:
        raise _Refused(403, "Sign in first.")
    async with served.database.read() as reading:
        shown = await everything(reading, found[1].account_id, found[1].scopes)
    return _page("live.html", 200, shown=shown)


async def _sign_in(request: Request, served: Served) -> Response:
    fields = await _form(request)
    address = request.client.host if request.client else ""
    text = fields.get("token", "").strip()
    async with served.database.read() as reading:
        row = await tokens.verify(reading, text, datetime.datetime.now(datetime.UTC)) if text else None
    if row is None:
        if not served.failures.count(address, time.monotonic()):
            raise _Refused(429, "Too many invalid tokens were tried from there; wait a minute.")
        raise _Refused(403, "That token is invalid or has expired.")
    cookie = served.sessions.begin(row.digest, time.monotonic())
    answer = RedirectResponse("/ui", 303, headers=_HEADERS)
    answer.set_cookie(COOKIE, cookie, path="/ui", httponly=True, samesite="strict", secure=_is_secure(request))
    return answer


async def _sign_out(request: Request, served: Served) -> Response:
    await _own_form(request, served)
    served.sessions.end(request.cookies.get(COOKIE, ""))
    answer = RedirectResponse("/ui", 303, headers=_HEADERS)
    answer.delete_cookie(COOKIE, path="/ui", httponly=True, samesite="strict")
    return answer


async def _create(request: Request, served: Served) -> Response:
    fields, actor = await _own_form(request, served)
    if "tunnels:edit" not in actor.scopes:
        raise _Refused(403, "The token lacks the scope tunnels:edit.")
    name, hostname = fields.get("name", "").strip(), fields.get("hostname", "").strip()
    if not name or len(name) > 255 or not name.isprintable():
        return await _show(request, served, status=400, problem="A tunnel needs a name of at most 255 characters.")
    if hostname and "dns:edit" not in actor.scopes:
        raise _Refused(403, "The token lacks the scope dns:edit.")

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
        edges = (await everything(reading, actor.account_id, actor.scopes))["edges"]
    addresses = " ".join(f"--edge {edge['address']}" for edge in edges if edge["address"])
    made["line"] = (
        f"TUNNEL_TOKEN={made['token']} pyconnector run {addresses} --cacert ca.pem --url http://localhost:8000"
    )
    return await _show(request, served, made=made)


async def _signed_in(request: Request, served: Served) -> tuple[Session, Actor] | None:
    session = served.sessions.find(request.cookies.get(COOKIE, ""), time.monotonic())
    if session is None:
        return None
    async with served.database.read() as reading:
        row = await tokens.by_digest(reading, session.digest, datetime.datetime.now(datetime.UTC))
    if row is None:
        served.sessions.end(request.cookies.get(COOKIE, ""))
        return None
    return session, tokens.actor_of(row)


async def _own_form(request: Request, served: Served) -> tuple[dict[str, str], Actor]:
    found = await _signed_in(request, served)
    if found is None:
        raise _Refused(403, "Sign in first.")
    fields = await _form(request)
    if not found[0].is_own_form(fields.get("form_key", "")):
        raise _Refused(403, "The form is not one of this session: open the page anew.")
    return fields, found[1]


async def _form(request: Request) -> dict[str, str]:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        raise _Refused(415, "That is no form.")
    body = await read_body(request.receive, MAX_FORM)
    if body is None:
        raise _Refused(413, f"A form has at most {MAX_FORM} bytes.")
    try:
        fields = parse_qs(body.decode("ascii"), max_num_fields=20, errors="strict")
    except ValueError:
        raise _Refused(400, "That is no form.") from None
    return {name: values[0] for name, values in fields.items()}


def _is_secure(request: Request) -> bool:
    return request.url.scheme == "https" or request.headers.get("origin", "").startswith("https://")


def _page(template: str, status: int, **values: Any) -> HTMLResponse:
    return HTMLResponse(_templates().get_template(template).render(**values), status, headers=_HEADERS)


@cache
def _templates() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    # Everything is escaped: names and versions are whatever a client or a connector says.
    return Environment(
        loader=FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
