"""What stands before every request: a valid token, and a body of bounded size. Nothing of a request is read before."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pyconnector.control.api.envelope import failure
from pyconnector.control.store.errors import StoreUnavailable
from pyconnector.control.store.objects import tokens

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.responses import JSONResponse
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from pyconnector.control.login.transfers import Transfers
    from pyconnector.control.page.sessions import Sessions
    from pyconnector.control.quick import QuickService
    from pyconnector.control.store.database import Database
    from pyconnector.control.store.feed import ChangeFeed
    from pyconnector.control.store.objects.authority import MeshAuthority
    from pyconnector.control.store.objects.first import Installation
    from pyconnector.control.store.work import Actor

#: Bytes of a request's body; those of an edge's report are more, as it lists every connection.
MAX_BODY = 1024 * 1024
MAX_REPORT = 32 * 1024 * 1024
#: Seconds for a body.
BODY_TIMEOUT = 60.0
#: Invalid tokens that one address may show within a minute before it is told to wait.
MAX_FAILURES = 60
FAILURE_WINDOW = 60.0
#: Addresses whose failures are counted.
MAX_ADDRESSES = 10_000
#: Bytes of a form of the page.
MAX_FORM = 16 * 1024
_MAX_TOKEN = 512
_GUARDED = ("/client/v4/", "/edge/v1/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """The control plane that requests are about."""

    database: Database
    feed: ChangeFeed
    installation: Installation
    authority: MeshAuthority
    quick: QuickService
    sessions: Sessions
    transfers: Transfers
    failures: Failures
    "Invalid tokens, by address, of API and page together."
    hostnames: frozenset[str]
    "Names beside IP addresses and `localhost` under which browsers may ask."
    dns_address: tuple[str, int] | None = None
    "Where connectors find the edges by DNS."


class Failures:
    """Counts invalid tokens by address. Pure: `now` is seconds of any clock."""

    def __init__(self) -> None:
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._counts)

    def count(self, address: str, now: float) -> bool:
        """Count one; False where there were too many lately."""
        begun, number = self._counts.pop(address, (now, 0))
        if now - begun >= FAILURE_WINDOW:
            begun, number = now, 0
        self._counts[address] = (begun, number + 1)
        if len(self._counts) > MAX_ADDRESSES:
            self._counts.popitem(last=False)
        return number < MAX_FAILURES


class Guard:
    """Lets through what has a valid token and a body that fits; the actor is then in the request's scope."""

    def __init__(self, app: ASGIApp, served: Served, clock: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._served = served
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Cancel gives it up."""
        if scope["type"] == "http":
            scope["pyconnector.served"] = self._served
        if scope["type"] != "http" or not scope["path"].startswith(_GUARDED):
            await self._app(scope, receive, send)
            return
        refusal: JSONResponse | None
        try:
            actor = await self._actor(scope)
        except StoreUnavailable as error:
            actor, refusal = None, failure(503, (1000, str(error)))
        else:
            refusal = self._refusal(scope) if actor is None else None
        body = b""
        if refusal is None:
            limit = MAX_REPORT if scope["path"].startswith("/edge/") else MAX_BODY
            try:
                whole = await read_body(receive, limit)
            except TimeoutError:
                refusal = failure(408, (1000, f"The body of the request did not come within {BODY_TIMEOUT:g} s."))
            else:
                if whole is None:
                    refusal = failure(413, (1000, f"The body of a request has at most {limit} bytes."))
                else:
                    body = whole
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        scope["pyconnector.actor"] = actor
        await self._app(scope, _replay(body, receive), send)

    async def _actor(self, scope: Scope) -> Actor | None:
        text = _bearer(scope)
        if not text or len(text) > _MAX_TOKEN:
            return None
        async with self._served.database.read() as session:
            row = await tokens.verify(session, text, self._served.database.now())
        if row is None:
            return None
        client = scope.get("client")
        return replace(
            tokens.actor_of(row),
            ip_address=client[0] if client else "",
            method=scope["method"],
            # Without its query, and as it came: a decoded one may hold any character.
            uri=scope.get("raw_path", b"").partition(b"?")[0].decode("ascii", "replace")[:2000],
            user_agent=_header(scope, b"user-agent")[:500],
        )

    def _refusal(self, scope: Scope) -> JSONResponse:
        client = scope.get("client")
        if not self._served.failures.count(client[0] if client else "", self._clock()):
            return failure(429, (10_000, "Too many requests with an invalid token; wait a minute."))
        if not _bearer(scope):
            return failure(403, (10_000, "Authentication error: send the API token as `Authorization: Bearer TOKEN`."))
        return failure(403, (10_000, "Authentication error: the API token is invalid or has expired."))


def _header(scope: Scope, wanted: bytes) -> str:
    for name, value in scope["headers"]:
        if name == wanted:
            return bytes(value).decode("latin-1")
    return ""


def _bearer(scope: Scope) -> str:
    kind, _, text = _header(scope, b"authorization").partition(" ")
    return text.strip() if kind.lower() == "bearer" else ""


async def read_body(receive: Receive, limit: int) -> bytes | None:
    """Return the body of a request; None where it has more than `limit` bytes. Cancel gives it up.

    Raises:
        TimeoutError: it did not come in time.
    """
    body = bytearray()
    async with asyncio.timeout(BODY_TIMEOUT):
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return bytes(body)
            body += message.get("body", b"")
            if len(body) > limit:
                return None
            if not message.get("more_body", False):
                return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def next_message() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return next_message
