"""CONNECT over HTTP/1.1 (RFC 9110 section 9.3.6), and UDP by Upgrade (RFC 9298 section 3.2), read by hand: one request,
then bytes.

Only what such a request needs is read, and it is read strictly: what follows its head is the tunnel's. What could be
read in two ways (a body, a folded line, two credentials) is refused.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Final

from pyconnector.protocol.proxying.handshake import Connect, Event, HandshakeError, Verdict
from pyconnector.protocol.proxying.proxy_request import (
    CONNECT_UDP,
    MAX_FIELDS,
    BadProxyRequest,
    connect_to,
    connect_udp_to,
    credentials_of,
    gather,
    refusal_of,
)

#: Bytes of a head.
MAX_HEAD: Final = 16 * 1024
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t -~\x80-\xff]*?)[ \t]*")
_GRANTED = b"HTTP/1.1 200 Connection established\r\n\r\n"
_UPGRADED = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: connect-udp\r\nCapsule-Protocol: ?1\r\n\r\n"
)


class HttpConnect:
    """One client's handshake."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._searched = 0
        self._request: Connect | None = None
        self._leftover = b""

    def __repr__(self) -> str:
        return f"<HttpConnect {self._request}>"

    @property
    def leftover(self) -> bytes:
        """What follows the request."""
        return self._leftover

    def feed(self, data: bytes) -> Event | None:
        """See `Handshake.feed`."""
        if self._request is not None:
            return self._request
        self._data += data
        end = self._data.find(b"\r\n\r\n", self._searched)
        if end < 0:
            self._searched = max(0, len(self._data) - 3)
            if len(self._data) > MAX_HEAD:
                raise self._error("the head of the request is too large")
            return None
        if end > MAX_HEAD:
            raise self._error("the head of the request is too large")
        head, self._leftover = bytes(self._data[:end]), bytes(self._data[end + 4 :])
        self._data.clear()
        try:
            return self._read(head)
        except BadProxyRequest as error:
            raise self._error(str(error)) from None

    def bytes_to_send(self) -> bytes:
        """See `Handshake.bytes_to_send`: nothing before the answer."""
        return b""

    def authenticated(self) -> bytes:
        """See `Handshake.authenticated`: the answer to the request says it."""
        return b""

    def refused(self, verdict: Verdict, reason: str = "") -> bytes:
        """See `Handshake.refused`."""
        return self.answer(verdict, reason)

    def answer(self, verdict: Verdict, reason: str = "", bound: tuple[str, int] = ("0.0.0.0", 0)) -> bytes:
        """See `Handshake.answer`."""
        if verdict is Verdict.GRANTED:
            return _UPGRADED if self._request is not None and self._request.protocol == "udp" else _GRANTED
        status, fields, body = refusal_of(verdict, reason)
        lines = [b"HTTP/1.1 %d %b" % (status, HTTPStatus(status).phrase.encode("ascii"))]
        lines += [b"%b: %b" % (name.title(), value) for name, value in fields]
        return b"\r\n".join([*lines, b"Connection: close", b"", body])

    def _read(self, head: bytes) -> Event:
        request, *lines = head.split(b"\r\n")
        parts = request.split(b" ")
        if len(parts) != 3 or parts[2] not in {b"HTTP/1.1", b"HTTP/1.0"}:
            raise BadProxyRequest("that is no HTTP/1.1 request")
        if len(lines) > MAX_FIELDS:
            raise BadProxyRequest("the request has too many fields")
        read = []
        for line in lines:
            found = _FIELD.fullmatch(line)
            if found is None:
                raise BadProxyRequest("a field of the request is malformed")
            read.append((found[1], found[2]))
        fields = gather(read)
        if b"transfer-encoding" in fields or fields.get(b"content-length", b"0") != b"0":
            raise BadProxyRequest("CONNECT has no body")
        shown = credentials_of(fields)
        if parts[0] == b"CONNECT":
            self._request = connect_to(parts[1], fields, shown)
        elif parts[0] == b"GET" and parts[2] == b"HTTP/1.1" and _upgrades(fields):
            self._request = connect_udp_to(parts[1], fields, shown)
        else:
            raise HandshakeError("only CONNECT is served here", self._method_refused())
        return shown

    def _error(self, reason: str) -> HandshakeError:
        return HandshakeError(reason, self.answer(Verdict.FAILED, reason))

    def _method_refused(self) -> bytes:
        return b"HTTP/1.1 405 Method Not Allowed\r\nAllow: CONNECT\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def _upgrades(fields: dict[bytes, bytes]) -> bool:
    options = {option.strip(b" \t").lower() for option in fields.get(b"connection", b"").split(b",")}
    return fields.get(b"upgrade", b"").lower() == CONNECT_UDP and b"upgrade" in options and b"host" in fields
