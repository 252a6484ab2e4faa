"""HTTP CONNECT as its client (RFC 9110 9.3.6), with Basic authentication (RFC 7617). Pure."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

from pyconnector.transport.proxy.handshake import ProxyRefused, shown
from pyconnector.web.host_port import join_host_port

if TYPE_CHECKING:
    from pyconnector.transport.proxy.address import Proxy

#: Bytes of an answer's head.
MAX_HEAD = 16 * 1024
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: ([^\r\n]*))?\r?\n")
_HEAD_ENDS = re.compile(rb"\r?\n\r?\n")
_CHALLENGE = re.compile(rb"(?im)^proxy-authenticate:[ \t]*([!#$%&'*+.^_`|~0-9a-z-]+)")
#: How the head of every answer begins.
_BEGINNING = b"HTTP/1."


class HttpConnect:
    """One CONNECT."""

    def __init__(self, proxy: Proxy, host: str, port: int) -> None:
        self.done = False
        self._proxy = proxy
        self._target = join_host_port(host if host.isascii() else host.encode("idna").decode("ascii"), port)
        self._data = b""

    def __repr__(self) -> str:
        return f"<HttpConnect {self._target} through {self._proxy} done={self.done}>"

    def start(self) -> bytes:
        """See `Handshake`."""
        target = self._target.encode("ascii")
        lines = [b"CONNECT %b HTTP/1.1" % target, b"Host: %b" % target]
        if self._proxy.username or self._proxy.password:
            credentials = base64.b64encode(b"%b:%b" % (self._proxy.username, self._proxy.password))
            lines.append(b"Proxy-Authorization: Basic %b" % credentials)
        return b"\r\n".join([*lines, b"", b""])

    def receive_data(self, data: bytes) -> bytes:
        """See `Handshake`."""
        before = len(self._data)
        self._data += data
        beginning = self._data[: len(_BEGINNING)]
        if not _BEGINNING.startswith(beginning):
            raise ProxyRefused(f'does not answer as an HTTP proxy does: "{shown(self._data)}"')
        end = _HEAD_ENDS.search(self._data, max(0, before - len(b"\r\n\r")))
        if end is None and len(self._data) <= MAX_HEAD:
            return b""
        status = _STATUS_LINE.match(self._data)
        if status is None:
            raise ProxyRefused(f'does not answer as an HTTP proxy does: "{shown(self._data)}"')
        if end is None or end.end() > MAX_HEAD:
            raise ProxyRefused(f"answers with a head longer than {MAX_HEAD} bytes")
        code = int(status[1])
        if not 200 <= code < 300:
            raise ProxyRefused(self._refusal(code, status[2] or b"", self._data[: end.end()]))
        if len(self._data) > end.end():
            raise ProxyRefused("sends more than its answer before anything was asked through it")
        self.done = True
        return b""

    def _refusal(self, code: int, reason: bytes, head: bytes) -> str:
        if code != 407:
            return f"refuses to connect to {self._target}: {shown(b'%d %b' % (code, reason)).rstrip()}"
        schemes = [each.decode("latin-1") for each in _CHALLENGE.findall(head)]
        if schemes and not any(each.lower() == "basic" for each in schemes):
            return f"asks for {shown(' or '.join(schemes).encode())} authentication (407), and only Basic is spoken"
        if self._proxy.username or self._proxy.password:
            return "does not accept these credentials (407)"
        return "asks for a user name and password (407); give them as SCHEME://USER:PASSWORD@HOST:PORT"
