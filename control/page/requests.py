"""What all requests of the page share: whose name it is asked by, who is signed in, whose form it is, and templates."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from starlette.responses import HTMLResponse, Response

from pyconnector.control.api.guard import MAX_FORM, Served, read_body
from pyconnector.control.api.hosts import is_own_host
from pyconnector.control.page.sessions import COOKIE, Session
from pyconnector.control.store.errors import StoreError, StoreUnavailable
from pyconnector.control.store.objects import tokens

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fastapi import Request
    from jinja2 import Environment

    from pyconnector.control.store.work import Actor

HERE = Path(__file__).parent
#: Nothing but what this server sends runs, is loaded or is sent to; nobody frames it.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Refused(Exception):
    """A request is refused; answered with a status, the sentence, and the form to sign in."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


async def answered(
    request: Request,
    action: Callable[[Request, Served], Awaitable[Response]],
    on_error: Callable[[Request, Served, str], Awaitable[Response]] | None = None,
) -> Response:
    """Return the answer of an action, or why there is none. Cancel gives it up.

    `on_error` shows what the store refused, in place of the form to sign in.
    """
    served: Served = request.scope["pyconnector.served"]
    try:
        if not is_own_host(request.headers.get("host", ""), served.hostnames):
            raise Refused(421, "This control plane does not go by that name; --api-hostname gives it one.")
        if request.method == "POST" and request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
            raise Refused(403, "The form was sent by another site.")
        return await action(request, served)
    except Refused as error:
        return page("sign_in.html", error.status, problem=str(error))
    except StoreError as error:
        if on_error is None:
            return page("sign_in.html", 400, problem=str(error))
        return await on_error(request, served, str(error))
    except StoreUnavailable as error:
        return page("sign_in.html", 503, problem=str(error))


async def signed_in(request: Request, served: Served) -> tuple[Session, Actor] | None:
    """Return the session of the browser and who acts in it; None where nobody is signed in. Cancel changes nothing."""
    session = served.sessions.find(request.cookies.get(COOKIE, ""), time.monotonic())
    if session is None:
        return None
    async with served.database.read() as reading:
        row = await tokens.by_digest(reading, session.digest, served.database.now())
    if row is None:
        served.sessions.end(request.cookies.get(COOKIE, ""))
        return None
    return session, tokens.actor_of(row)


async def own_form(request: Request, served: Served) -> tuple[dict[str, str], Actor]:
    """Return the fields of a form of this session, and who sent it. Cancel changes nothing.

    Raises:
        Refused: it is that of somebody else, or none.
    """
    found = await signed_in(request, served)
    if found is None:
        raise Refused(403, "Sign in first.")
    fields = await read_form(request)
    if not found[0].is_own_form(fields.get("form_key", "")):
        raise Refused(403, "The form is not one of this session: reload the page.")
    return fields, found[1]


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a form, whoever sent it. Cancel changes nothing.

    Raises:
        Refused: it is too large, or none.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        raise Refused(415, "That is no form.")
    try:
        body = await read_body(request.receive, MAX_FORM)
    except TimeoutError:
        raise Refused(408, "The form did not come in time.") from None
    if body is None:
        raise Refused(413, f"A form has at most {MAX_FORM} bytes.")
    try:
        fields = parse_qs(body.decode("ascii"), max_num_fields=20, errors="strict")
    except ValueError:
        raise Refused(400, "That is no form.") from None
    return {name: values[0] for name, values in fields.items()}


def is_secure(request: Request) -> bool:
    """Return whether the browser speaks TLS, with this server or with a proxy before it."""
    return request.url.scheme == "https" or request.headers.get("origin", "").startswith("https://")


def page(template: str, status: int, **values: Any) -> HTMLResponse:
    """Return a page of a template."""
    return HTMLResponse(_templates().get_template(template).render(**values), status, headers=HEADERS)


@cache
def _templates() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    # Everything is escaped: names and versions are whatever a client or a connector says.
    return Environment(
        loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
