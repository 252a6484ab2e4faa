"""HTTP CONNECT over HTTP/1.1 (RFC 9110 section 9.3.6), without I/O.

One request a connection: its head is read to the empty line, everything behind is the tunnel's. What could be read in
two ways (a body, a folded line, two credentials) is refused.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from pyconnector.protocol.proxying.handshake import Connect, Credentials, Event, HandshakeError, Verdict

#: Bytes and fields of a head.
MAX_HEAD: Final = 16 * 1024
MAX_FIELDS: Final = 100
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t -~\x80-\xff]*?)[ \t]*")
_TARGET = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+):([0-9]{1,5})")
_STATUS: Final = {
    Verdict.GRANTED: (200, "Connection established", ""),
    Verdict.UNAUTHENTICATED: (407, "Proxy Authentication Required", ""),
    Verdict.FORBIDDEN: (403, "Forbidden", "http_request_denied"),
    Verdict.UNROUTABLE: (502, "Bad Gateway", "destination_not_found"),
    Verdict.UNREACHABLE: (504, "Gateway Timeout", "destination_unavailable"),
    Verdict.BUSY: (503, "Service Unavailable", "connection_limit_reached"),
    Verdict.FAILED: (400, "Bad Request", "http_request_error"),
}
#: The request's headers that matter here.
_AUTHORIZATION, _ID, _SECRET, _NETWORK = (
    b"proxy-authorization", b"cf-access-client-id", b"cf-access-client-secret", b"cf-virtual-network",
)  # fmt: skip


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
        return self._read(head)

    def bytes_to_send(self) -> bytes:
        """See `Handshake.bytes_to_send`: nothing before the answer."""
        return b""

    def authenticated(self, accepted: bool) -> bytes:
        """See `Handshake.authenticated`: the answer to the request says it."""
        return b"" if accepted else self.answer(Verdict.UNAUTHENTICATED)

    def answer(self, verdict: Verdict, reason: str = "", bound: tuple[str, int] = ("0.0.0.0", 0)) -> bytes:
        """See `Handshake.answer`. What went wrong is in Proxy-Status too (RFC 9209)."""
        status, phrase, error = _STATUS[verdict]
        lines = [f"HTTP/1.1 {status} {phrase}"]
        if verdict is Verdict.GRANTED:
            return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")
        if verdict is Verdict.UNAUTHENTICATED:
            lines.append('Proxy-Authenticate: Basic realm="private network", charset="UTF-8"')
        if error:
            lines.append(f"Proxy-Status: pyconnector; error={error}")
        body = (reason + "\n" if reason else "").encode("utf-8", "replace")
        lines += ["Content-Type: text/plain; charset=utf-8", f"Content-Length: {len(body)}", "Connection: close"]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii") + body

    def _read(self, head: bytes) -> Event:
        request, *lines = head.split(b"\r\n")
        if len(lines) > MAX_FIELDS:
            raise self._error("the request has too many fields")
        parts = request.split(b" ")
        if len(parts) != 3 or parts[2] not in {b"HTTP/1.1", b"HTTP/1.0"}:
            raise self._error("that is no HTTP/1.1 request")
        if parts[0] != b"CONNECT":
            raise HandshakeError("only CONNECT is served here", self._method_refused())
        target = _TARGET.fullmatch(parts[1])
        if target is None or not 0 < int(target[2]) < 65_536:
            raise self._error("CONNECT needs HOST:PORT")
        fields: dict[bytes, bytes] = {}
        for line in lines:
            found = _FIELD.fullmatch(line)
            if found is None:
                raise self._error("a field of the request is malformed")
            name = found[1].lower()
            if name in fields and name in {_AUTHORIZATION, _ID, _SECRET, _NETWORK, b"host"}:
                raise self._error(f"{name.decode()} is given twice")
            fields[name] = found[2]
        if b"transfer-encoding" in fields or fields.get(b"content-length", b"0") != b"0":
            raise self._error("CONNECT has no body")
        host = target[1].decode("ascii").removeprefix("[").removesuffix("]")
        credentials = self._credentials(fields)
        network = fields.get(_NETWORK, b"").decode("utf-8", "replace")
        if network and credentials.virtual_network not in {"", network}:
            raise self._error("two different virtual networks are named")
        self._request = Connect(host, int(target[2]), network)
        return credentials

    def _credentials(self, fields: dict[bytes, bytes]) -> Credentials:
        given = fields.get(_AUTHORIZATION)
        if _ID in fields or _SECRET in fields:
            if given is not None:
                raise self._error("two kinds of credentials are given")
            pair = (fields.get(_ID, b""), fields.get(_SECRET, b""))
            return Credentials(*(part.decode("utf-8", "surrogateescape") for part in pair))
        scheme, _, value = (given or b"").partition(b" ")
        if scheme.lower() != b"basic":
            return Credentials("", "")
        try:
            user, _, secret = base64.b64decode(value.strip(), validate=True).partition(b":")
        except binascii.Error:
            return Credentials("", "")
        return Credentials(user.decode("utf-8", "surrogateescape"), secret.decode("utf-8", "surrogateescape"))

    def _error(self, reason: str) -> HandshakeError:
        return HandshakeError(reason, self.answer(Verdict.FAILED, reason))

    def _method_refused(self) -> bytes:
        return b"HTTP/1.1 405 Method Not Allowed\r\nAllow: CONNECT\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
