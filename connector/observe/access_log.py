"""The access log: one record for each request, saying who asked for what, which rule it met, and how it ended.

Records go to the logger `pyconnector.access_log`, which is off until it has a handler of its own: it hands nothing to
its parents. They hold no query, header, cookie or token, and nothing in them can end a line or look like another field.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING

from pyconnector.connector.observe.log import escape
from pyconnector.ingress.config.services import redacted
from pyconnector.origins.base import OriginError, OriginResponse, RequestKind
from pyconnector.transport.errors import TransportError

if TYPE_CHECKING:
    from pyconnector.connector.active.routes import Route
    from pyconnector.connector.requests.exchange import Exchange
    from pyconnector.origins.base import ByteReader, OriginRequest
    from pyconnector.origins.layers.base import Rejection

#: Where the records go; it is on while it has handlers. Its level does not follow that of the other logs.
LOGGER = logging.getLogger("pyconnector.access_log")
LOGGER.setLevel(logging.INFO)

#: Longest text of one field; what is longer is cut, and ends in "...".
MAX_FIELD_CHARS = 512

_PLAIN = frozenset("!#$%&'()*+,-./:;<>?@[]^_`{|}~").union(
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)


class Entry:
    """The record of one request, filled in as the request goes its way."""

    __slots__ = (
        "bytes_in", "bytes_out", "error", "exchange", "index", "refused", "request", "route", "started", "status",
    )  # fmt: skip

    def __init__(self, index: int, exchange: Exchange | None = None) -> None:
        self.index = index
        self.exchange = exchange
        self.started = asyncio.get_running_loop().time()
        self.route: Route | None = None
        self.request: OriginRequest | None = None
        self.status = 0
        self.error = ""
        self.refused = ""
        self.bytes_in = 0
        self.bytes_out = 0

    def reject(self, rejection: Rejection) -> None:
        """A layer refused the request."""
        self.status, self.refused, self.bytes_out = rejection.status, rejection.reason, len(rejection.body)

    def broke_off(self, error: BaseException) -> None:
        """The request ended by `error`, before or within its response."""
        if isinstance(error, OriginError):
            self.error = f"the origin broke off: {error}"
        elif isinstance(error, TransportError):
            self.error = f"the visitor left: {error}"
        elif isinstance(error, asyncio.CancelledError):
            self.error = "cut off: the visitor left, or the connection to the edge ended"
        else:
            self.error = f"failed: {type(error).__name__}"

    def fields(self, now: float) -> dict[str, object]:
        """Return what is known, by field name; every text is escaped and cut."""
        fields: dict[str, object] = {"connIndex": self.index}
        request, exchange = self.request, self.exchange
        if exchange is not None:
            fields["kind"] = exchange.kind.value
            if exchange.kind is RequestKind.TCP:
                fields["destination"] = _text((request or exchange.request()).destination)
            else:
                fields |= _asked(request, exchange)
        if self.route is not None:
            fields["rule"] = self.route.index
            fields["service"] = _text(redacted(self.route.rule.service))
        if self.status:
            fields["status"] = self.status
        if self.refused:
            fields["refused"] = _text(self.refused)
        if self.error:
            fields["error"] = _text(self.error)
        fields["bytesIn"] = self.bytes_in
        fields["bytesOut"] = self.bytes_out
        fields["durationMs"] = round((now - self.started) * 1000, 3)
        if request is not None and request.identity is not None:
            fields["identityKind"] = request.identity.kind
            fields["identity"] = _text(request.identity.name)
        return fields

    def write(self) -> None:
        """Hand the record to the handlers: called once, when the request is over."""
        if not LOGGER.isEnabledFor(logging.INFO):
            return
        fields = self.fields(asyncio.get_running_loop().time())
        record = LOGGER.makeRecord(LOGGER.name, logging.INFO, "", 0, _Line(fields), (), None, extra={"fields": fields})
        if LOGGER.filter(record):
            # Its own alone, whatever `propagate` says: a parent's handler did not ask for one line a request.
            for handler in LOGGER.handlers:
                if record.levelno >= handler.level:
                    handler.handle(record)


class CountedReader:
    """A request's body whose bytes are counted."""

    __slots__ = ("_body", "_entry")

    def __init__(self, body: ByteReader, entry: Entry) -> None:
        self._body = body
        self._entry = entry

    async def receive(self, limit: int = 65_536) -> bytes:
        """See `ByteReader.receive`. Cancel at any time: no byte is lost."""
        data = await self._body.receive(limit)
        self._entry.bytes_in += len(data)
        return data

    def receive_nowait(self, limit: int = 65_536) -> bytes | None:
        """See `ByteReader.receive_nowait`."""
        data = self._body.receive_nowait(limit)
        if data:
            self._entry.bytes_in += len(data)
        return data


class CountedResponse(OriginResponse):
    """A response whose body bytes are counted."""

    def __init__(self, response: OriginResponse, entry: Entry) -> None:
        self._response = response
        self._entry = entry
        entry.status = response.status
        self.status = response.status
        self.headers = response.headers
        self.trailers = response.trailers
        self.tunnel = response.tunnel

    async def receive(self, limit: int = 65_536) -> bytes:
        """See `OriginResponse.receive`. Cancel at any time: no byte is lost."""
        return self._counted(await self._response.receive(limit))

    def receive_nowait(self, limit: int = 65_536) -> bytes | None:
        """See `OriginResponse.receive_nowait`."""
        data = self._response.receive_nowait(limit)
        return None if data is None else self._counted(data)

    def _counted(self, data: bytes) -> bytes:
        self._entry.bytes_out += len(data)
        if not data:
            self.trailers = self._response.trailers
        return data

    async def finish(self) -> None:
        """See `OriginResponse.finish`. Cancel aborts."""
        await self._response.finish()

    def abort(self) -> None:
        """See `OriginResponse.abort`."""
        self._response.abort()


class _Line:
    """Fields as one line of text, made when a handler wants it."""

    __slots__ = ("_fields",)

    def __init__(self, fields: dict[str, object]) -> None:
        self._fields = fields

    def __str__(self) -> str:
        return " ".join([f"{name}={_quoted(str(value))}" for name, value in self._fields.items()])


def _asked(request: OriginRequest | None, exchange: Exchange) -> dict[str, object]:
    """What the visitor asked for; of a request that could not be read, what the edge said of it."""
    if request is not None:
        method, host, target = request.method, request.host, request.target
    else:
        method, host = exchange.claimed()
        target = ""
    asked = {"method": method, "host": host, "path": target.partition("?")[0]}
    return {name: _text(value) for name, value in asked.items() if value}


def _text(text: str) -> str:
    safe = escape(text[: MAX_FIELD_CHARS + 1])
    return safe if len(safe) <= MAX_FIELD_CHARS else safe[:MAX_FIELD_CHARS] + "..."


def _quoted(text: str) -> str:
    """`text` as it is where nothing in it could be taken for the end of a field, else in quotes."""
    return text if text and _PLAIN.issuperset(text) else json.dumps(text)
