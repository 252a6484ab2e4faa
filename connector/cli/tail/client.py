"""Asks a connector for its log, by way of the edge, and gives line after line (reference/cli.md 6)."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from pyconnector.connector.version import VERSION
from pyconnector.transport.tls.client_context import client_context
from pyconnector.web.websocket import frames
from pyconnector.web.websocket.frames import FrameDecoder, FrameError, Piece
from pyconnector.web.websocket.handshake import accept_value, new_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

#: Seconds to be connected, and silence after which the far end is gone: it gives a sign of life every 15 s.
CONNECT_TIMEOUT, SILENCE = 15.0, 60.0
#: Bytes of an answer's head, of the page behind a refusal, and of one message.
MAX_HEAD, MAX_PAGE, MAX_MESSAGE = 16 * 1024, 64 * 1024, 1024 * 1024
#: Status of an edge that has no connection of the tunnel.
NO_CONNECTOR = 530
_CLOSE_CODES = {
    4001: "the connector does not understand these filters",
    4002: "somebody else reads its log, and it serves one reader at a time",
    4003: "it was idle for too long",
}


class TailFailed(Exception):
    """There is no log to be read. The text is one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Whose log, and what of it."""

    url: str
    "Where the edge is: http(s)://HOST[:PORT]."
    hostname: str
    "The name under which connectors are managed."
    token: str = field(repr=False)
    connector_id: str = ""
    level: str = "debug"
    events: tuple[str, ...] = ()
    share: float = 1.0
    trace: str = ""
    ca_file: str | None = None

    def request(self, key: bytes) -> bytes:
        """Return the opening handshake."""
        query = {"access_token": self.token} | ({"connector_id": self.connector_id} if self.connector_id else {})
        lines = [
            f"GET /logs?{urlencode(query)} HTTP/1.1",
            f"Host: {self.hostname}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {key.decode()}",
            f"User-Agent: pyconnector/{VERSION}",
            *([f"Cf-Trace-Id: {self.trace}"] if self.trace else []),
        ]
        return "\r\n".join([*lines, "", ""]).encode("ascii")

    def start(self) -> bytes:
        """Return the message that has the log begin."""
        filters: dict[str, Any] = {"level": self.level, "sampling": self.share}
        if self.events:
            filters["events"] = list(self.events)
        return json.dumps({"type": "start_streaming", "filters": filters}).encode()


class LogReader:
    """One conversation. `open` first, then `lines`, then `close`."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def open(self) -> None:
        """Connect, and have the log begin. Cancel leaves nothing open.

        Raises:
            TailFailed: the edge, or the connector, does not let it.
        """
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await self._connect()
        except TimeoutError:
            raise TailFailed(f"no answer from {self._wanted.url} within {CONNECT_TIMEOUT:g} s") from None
        except ssl.SSLError as error:
            reason = getattr(error, "verify_message", "") or error.reason or error
            raise TailFailed(f"no TLS with {self._wanted.url}: {reason}") from error
        except (OSError, EOFError, asyncio.LimitOverrunError) as error:
            told = getattr(error, "strerror", None) or "it closed the connection"
            raise TailFailed(f"cannot reach {self._wanted.url}: {told}") from error

    async def lines(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the lines of the log until the far end ends. Cancel at any time.

        Raises:
            TailFailed: it broke off, or says why it ends.
        """
        message = b""
        async for item in self._frames():
            if isinstance(item, Piece):
                message += item.payload
                if len(message) > MAX_MESSAGE:
                    raise TailFailed(f"a message is longer than {MAX_MESSAGE} bytes")
                if item.last:
                    for line in _lines_of(message):
                        yield line
                    message = b""
            elif item.opcode == frames.PING:
                self._send(frames.PONG, item.payload)
            elif item.opcode == frames.CLOSE:
                code = frames.close_code(item.payload)
                if code in (1000, 1001):
                    return
                reason = item.payload[2:].decode("utf-8", "replace")
                raise TailFailed(_CLOSE_CODES.get(code, f"the connector ended it: {reason or code}"))

    async def close(self) -> None:
        """Say that nothing more is wanted, and close. Cancel closes at once. Idempotent."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        writer.write(frames.masked_frame(frames.CLOSE, (1000).to_bytes(2), os.urandom(4)))
        writer.close()
        try:
            async with asyncio.timeout(1.0):
                await writer.wait_closed()
        except (OSError, TimeoutError):
            writer.transport.abort()

    async def _connect(self) -> None:
        wanted = self._wanted
        url = urlsplit(wanted.url)
        tls = client_context(wanted.ca_file) if url.scheme == "https" else None
        port = url.port or (443 if tls else 80)
        self._reader, self._writer = await asyncio.open_connection(url.hostname, port, ssl=tls, limit=MAX_HEAD)
        try:
            key = new_key(os.urandom)
            self._writer.write(wanted.request(key))
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status, fields = _parsed(head)
            if status != 101:
                raise TailFailed(_refusal(status, await self._page(fields)))
            if fields.get("sec-websocket-accept", "").encode() != accept_value(key):
                raise TailFailed("what answers does not speak WebSocket")
            self._send(frames.TEXT, wanted.start())
        except BaseException:
            self._writer.transport.abort()
            self._writer = None
            raise

    async def _page(self, fields: dict[str, str]) -> bytes:
        assert self._reader is not None
        length = fields.get("content-length", "")
        size = min(int(length), MAX_PAGE) if length.isascii() and length.isdigit() else MAX_PAGE
        data = b""
        while len(data) < size and (piece := await self._reader.read(size - len(data))):
            data += piece
        return data

    async def _frames(self) -> AsyncIterator[Piece | frames.Control]:
        assert self._reader is not None
        decoder = FrameDecoder(masked=False)
        while True:
            try:
                async with asyncio.timeout(SILENCE):
                    data = await self._reader.read(65_536)
                found = decoder.feed(data)
            except TimeoutError:  # of this kind is an OSError too
                raise TailFailed(f"nothing was heard for {SILENCE:g} s") from None
            except (OSError, FrameError) as error:
                raise TailFailed(f"the connection broke off: {error}") from error
            if not data:
                raise TailFailed("the connection broke off")
            while found:
                for item in found:
                    yield item
                found = decoder.feed(b"") if decoder.has_more else []

    def _send(self, opcode: int, payload: bytes) -> None:
        assert self._writer is not None
        self._writer.write(frames.masked_frame(opcode, payload, os.urandom(4)))


def _lines_of(message: bytes) -> list[dict[str, Any]]:
    try:
        found = json.loads(message)
        return [line for line in found["logs"] if isinstance(line, dict)] if found.get("type") == "logs" else []
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise TailFailed("the connector sent what is no line of a log") from None


def _parsed(head: str) -> tuple[int, dict[str, str]]:
    first, *rest = head.split("\r\n")
    words = first.split(" ")
    if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdigit():
        raise TailFailed("what answers does not speak HTTP")
    fields = {}
    for line in rest:
        name, _, value = line.partition(":")
        fields[name.strip().lower()] = value.strip()
    return int(words[1]), fields


def _refusal(status: int, page: bytes) -> str:
    if status in (NO_CONNECTOR, 503):
        return "no connector of this tunnel is connected, or none whose log can be read"
    try:
        errors = json.loads(page)["errors"]
        told = "; ".join(f"({error['code']}) {error['message']}" for error in errors)
    except (ValueError, TypeError, KeyError, RecursionError):
        told = ""
    if told:
        return f"the request was refused: {told}"
    return f"the request was refused with status {status}; is the token right, and still valid?"
