"""What a connector answers under the management hostname, whatever its rules say (reference/lifecycle.md 7).

The edge lets nothing pass to that name whose token it did not verify; here the token is read, and must be for this
tunnel.
"""

from __future__ import annotations

import json
import logging
import random
import socket
import weakref
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from pyconnector.connector.management.log_stream import LogStream
from pyconnector.connector.management.sessions import LogSession
from pyconnector.connector.observe.server.metrics_server import not_found
from pyconnector.identity.management_token import PARAMETER, NoManagementToken, read_claims
from pyconnector.origins.base import OriginResponse, RequestKind
from pyconnector.origins.builtin.memory import MemoryResponse
from pyconnector.origins.websocket import accept

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from pyconnector.connector.management.sessions import Elsewhere
    from pyconnector.connector.observe.server.metrics_server import Answer, Page
    from pyconnector.identity.management_token import ManagementClaims
    from pyconnector.origins.base import ByteReader, Headers, OriginRequest
    from pyconnector.transport.seam import Address

#: Whose pages may show in a browser what is answered here.
_SITES = ".cloudflare.com"
#: Code of the error where there is no token.
_MISSING_TOKEN = {"errors": [{"code": 1001, "message": "missing access_token query parameter"}]}

_log = logging.getLogger("pyconnector.management")


class ManagementService:
    """Serves the requests for the management hostname."""

    def __init__(
        self,
        *,
        tunnel_id: UUID,
        connector_id: UUID,
        label: str,
        metrics: Page | None,
        edge_address: Callable[[], Address | None],
        elsewhere: Elsewhere | None = None,
    ) -> None:
        """`metrics` makes the page of figures, where it may be seen; `edge_address` says where the edge is now."""
        self._tunnel_id = str(tunnel_id)
        self._connector_id = connector_id
        self._label = label
        self._metrics = metrics
        self._edge_address = edge_address
        self._elsewhere = elsewhere
        self._random = random.Random()
        self._streams: weakref.WeakSet[LogStream] = weakref.WeakSet()
        self._ended = False

    def __repr__(self) -> str:
        return f"<ManagementService of {self._tunnel_id}>"

    def end(self) -> None:
        """The connector ends: whoever reads the log leaves, so that nobody waits for him. Idempotent."""
        self._ended = True
        for stream in tuple(self._streams):
            stream.disconnect()

    async def serve(self, request: OriginRequest, body: ByteReader) -> OriginResponse:
        """Answer one request. Cancel at any time."""
        try:
            url = urlsplit(request.target)
            token = parse_qs(url.query, max_num_fields=16).get(PARAMETER, [""])[0]
            claims = read_claims(token)
        except (ValueError, NoManagementToken):
            return _json(HTTPStatus.BAD_REQUEST, _MISSING_TOKEN, request)
        if claims.tunnel_id.lower() != self._tunnel_id:
            return _json(HTTPStatus.BAD_REQUEST, _MISSING_TOKEN, request)
        if url.path == "/logs" and request.method == "GET":
            return self._logs(request, body, claims)
        if request.method not in ("GET", "HEAD", "OPTIONS"):
            return _answer(HTTPStatus.METHOD_NOT_ALLOWED, b"", b"", request)
        if url.path == "/ping" and request.method != "OPTIONS":
            return _answer(HTTPStatus.OK, b"", b"", request)
        if url.path == "/host_details" and request.method == "GET":
            return _json(HTTPStatus.OK, self._host_details(), request)
        if url.path == "/metrics" and request.method == "GET" and self._metrics is not None:
            return await self._figures(self._metrics, request)
        return _answer(HTTPStatus.NOT_FOUND, b"text/plain; charset=utf-8", not_found(url.path), request)

    def _logs(self, request: OriginRequest, body: ByteReader, claims: ManagementClaims) -> OriginResponse:
        if claims.resources and not claims.resources & {"logs", "admin"}:
            return _answer(HTTPStatus.FORBIDDEN, b"text/plain", b"this token is not for the log\n", request)
        if self._ended:
            return _answer(HTTPStatus.SERVICE_UNAVAILABLE, b"text/plain", b"the connector ends\n", request)
        headers = accept(request) if request.kind is RequestKind.WEBSOCKET else []
        if not headers:
            return _answer(HTTPStatus.UPGRADE_REQUIRED, b"text/plain", b"a WebSocket is spoken here\n", request)
        origin = _field(request, b"origin")
        if origin and not _may_show(origin, request.host):
            return _answer(HTTPStatus.FORBIDDEN, b"text/plain", b"another site may not open this\n", request)
        stream = LogStream(
            headers,
            lambda disconnect: LogSession(
                claims.actor,
                self._connector_id,
                random=self._random.random,
                disconnect=disconnect,
                elsewhere=self._elsewhere,
            ),
        )
        _log.info("The log is read from afar")
        stream.converse(body)
        self._streams.add(stream)
        return stream

    def _host_details(self) -> dict[str, str]:
        details = {"connector_id": str(self._connector_id)}
        if address := _own_address(self._edge_address()):
            details["ip"] = address
        details["hostname"] = f"custom:{self._label}" if self._label else socket.gethostname() or "unknown"
        return details

    async def _figures(self, page: Page, request: OriginRequest) -> OriginResponse:
        found: Answer = await made if not isinstance(made := page(), tuple) else made
        status, kind, body = found
        return _answer(status, kind.encode(), body, request)


def _own_address(edge: Address | None) -> str:
    """Return this machine's address on the way to the edge, without sending anything; "" where there is none."""
    if edge is None:
        return ""
    try:
        with socket.socket(socket.AF_INET6 if ":" in edge[0] else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(edge)
            return str(probe.getsockname()[0])
    except OSError:
        return ""


def _json(status: HTTPStatus, value: object, request: OriginRequest) -> OriginResponse:
    return _answer(status, b"application/json", json.dumps(value).encode() + b"\n", request)


def _answer(status: HTTPStatus, kind: bytes, body: bytes, request: OriginRequest) -> OriginResponse:
    headers: Headers = [(b"Content-Length", b"%d" % len(body)), (b"Cache-Control", b"no-store")]
    if kind:
        headers.insert(0, (b"Content-Type", kind))
    origin = _field(request, b"origin")
    if origin and _may_show(origin, "") and not urlsplit(request.target).path == "/logs":
        headers += [
            (b"Access-Control-Allow-Origin", origin),
            (b"Access-Control-Allow-Credentials", b"true"),
            (b"Vary", b"Origin"),
        ]
    return MemoryResponse(status.value, headers, b"" if request.method == "HEAD" else body)


def _field(request: OriginRequest, name: bytes) -> bytes:
    return next((value for each, value in request.headers if each.lower() == name), b"")


def _may_show(origin: bytes, host: str) -> bool:
    """Whether a page of `origin` may: one of the provider's over HTTPS, or of `host` itself."""
    try:
        url = urlsplit(origin.decode("ascii"))
        name = url.hostname or ""
    except ValueError:
        return False
    return (url.scheme == "https" and name.endswith(_SITES)) or (bool(host) and name == host)
