"""The HTTP side of the control API: one JSON request per connection, from this machine and from no web page.

A page that a browser shows could reach loopback too, by itself or by a name that it makes resolve there: so a request
with an Origin, or with a Host that is not this address, is refused whatever it asks.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from pyconnector.edge.listener import Listener
from pyconnector.edge.settings import is_loopback
from pyconnector.edge.tasks import TaskSet
from pyconnector.edge.visitors.http1.request_body import request_body
from pyconnector.edge.visitors.http1.request_parser import BadRequest, RequestReader
from pyconnector.edge.visitors.pages import status_line
from pyconnector.edge.visitors.sockets import end_writing

if TYPE_CHECKING:
    from pyconnector.edge.settings import ControlSettings, HostPort
    from pyconnector.edge.visitors.http1.request_parser import VisitorRequest

#: Bytes of a request body.
MAX_BODY_BYTES = 1024 * 1024
#: Connections at once.
MAX_CONNECTIONS = 64
#: Seconds for a request to arrive, and for its answer to be taken.
TIMEOUT = 10.0
_PIECE = 64 * 1024

#: Method, path and JSON body (None without one) to status and JSON answer.
Handler: TypeAlias = Callable[[str, str, Any], Awaitable[tuple[int, object]]]

_log = logging.getLogger("pyconnector.edge")


class ControlServer:
    """Serves `handler` to programs on this machine."""

    def __init__(self, settings: ControlSettings, handler: Handler) -> None:
        self._settings = settings
        self._handler = handler
        self._tasks = TaskSet()
        self._listener = Listener(self._protocol, "clients of the control API")
        self._port = 0

    async def start(self) -> HostPort:
        """Listen, and return where. Cancel leaves nothing open.

        Raises:
            OSError: the address is taken.
        """
        host, self._port = await self._listener.start(*self._settings.address)
        return host, self._port

    async def close(self) -> None:
        """Stop at once. Idempotent. Cancel leaves tasks cancelled but not waited for."""
        self._listener.close()
        await self._listener.wait_closed()
        await self._tasks.cancel_all()

    def _protocol(self) -> asyncio.StreamReaderProtocol:
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(limit=_PIECE), self._connected)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) >= MAX_CONNECTIONS:
            writer.transport.abort()
        else:
            serving = self._tasks.start(self._serve(reader, writer), "edge control")
            # Not in a `finally` of its own: where it is cancelled before it begins, nothing of it runs.
            serving.add_done_callback(lambda _: None if writer.is_closing() else writer.transport.abort())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transport = writer.transport
        try:
            status, answer = await self._answer(reader)
            body = json.dumps(answer, indent=2).encode() + b"\n"
            writer.write(
                b"%bContent-Type: application/json\r\nContent-Length: %d\r\nCache-Control: no-store\r\n"
                b"Connection: close\r\n\r\n%b" % (status_line(status), len(body), body)
            )
            async with asyncio.timeout(TIMEOUT):
                await writer.drain()
                end_writing(transport)
                await _drop_rest(reader)  # what is unread would turn the close into a reset
            writer.close()
        except (OSError, TimeoutError):
            pass  # whoever asked is gone, or does not take the answer

    async def _answer(self, reader: asyncio.StreamReader) -> tuple[int, object]:
        try:
            async with asyncio.timeout(TIMEOUT):
                parser = RequestReader()
                while (request := parser.next_request()) is None:
                    parser.feed(await _more(reader))
                self._check_origin(request)
                path = request.target.decode("ascii", "replace").partition("?")[0]
                if path != "/healthz":
                    self._check_token(request)
                raw = await _read_body(request, parser.leftover, reader)
            body = _parsed(request, raw)
            return await self._handler(request.method, path, body)
        except BadRequest as fault:
            return fault.status, {"error": fault.reason}
        except TimeoutError:
            return 408, {"error": "The request did not arrive in time."}

    def _check_origin(self, request: VisitorRequest) -> None:
        host = request.host.decode("ascii")
        name, colon, port = host.rpartition(":")
        if not colon or host.endswith("]"):
            name, port = host, "80"
        if not is_loopback(name.strip("[]").lower()) or port != str(self._port):
            raise BadRequest("The control API is addressed by its loopback address only.", 403)
        if _field(request, b"origin") is not None or _field(request, b"sec-fetch-site") not in (None, b"none"):
            raise BadRequest("The control API is not for web pages.", 403)

    def _check_token(self, request: VisitorRequest) -> None:
        token = self._settings.token
        if token is None:
            return
        given = _field(request, b"authorization") or b""
        if not hmac.compare_digest(given, b"Bearer " + token.encode()):
            raise BadRequest("The control API needs its token: Authorization: Bearer TOKEN.", 401)


def _field(request: VisitorRequest, name: bytes) -> bytes | None:
    for field, value in request.headers:
        if field.lower() == name:
            return value
    return None


def _parsed(request: VisitorRequest, raw: bytes) -> object:
    if not raw:
        return None
    if (_field(request, b"content-type") or b"").partition(b";")[0].strip().lower() != b"application/json":
        raise BadRequest("The body of a request is JSON and says so: Content-Type: application/json.", 415)
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        raise BadRequest("The body of the request is not JSON.") from None


async def _read_body(request: VisitorRequest, waiting: bytearray, reader: asyncio.StreamReader) -> bytes:
    if request.body_length is not None and request.body_length > MAX_BODY_BYTES:
        raise BadRequest("The body of the request is too large.", 413)
    body = request_body(request.body_length)
    raw = bytearray()
    raw += body.take(waiting)
    while not body.finished:
        if body.is_behind:
            await asyncio.sleep(0)
        else:
            waiting += await _more(reader)
        raw += body.take(waiting)
        if len(raw) > MAX_BODY_BYTES:
            raise BadRequest("The body of the request is too large.", 413)
    return bytes(raw)


async def _drop_rest(reader: asyncio.StreamReader) -> None:
    dropped = 0
    while dropped <= MAX_BODY_BYTES and (data := await reader.read(_PIECE)):
        dropped += len(data)


async def _more(reader: asyncio.StreamReader) -> bytes:
    data = await reader.read(_PIECE)
    if not data:
        raise BadRequest("The request is not whole.")
    return data
