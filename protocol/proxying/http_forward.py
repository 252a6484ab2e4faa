"""A plain HTTP request to a proxy (RFC 9112 section 3.2.2), turned into one for the server itself."""

from __future__ import annotations

import re

from pyconnector.protocol.errors import ProtocolError

_REQUEST = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) http://([^/?#\s]*)([^#\s]*) (HTTP/1\.[01])", re.IGNORECASE)
_AUTHORITY = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(?::([0-9]{1,5}))?")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
#: Fields between client and proxy alone.
_OWN = frozenset((b"proxy-authorization", b"proxy-connection", b"connection", b"keep-alive", b"host"))


def turn_to_server(head: bytes) -> tuple[str, int, bytes]:
    """Return host, port and the head to send there; the connection ends after its answer.

    Raises:
        ProtocolError: it is no request in absolute form, or malformed.
    """
    request, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    found = _REQUEST.fullmatch(request)
    authority = _AUTHORITY.fullmatch(found[2]) if found is not None else None
    if found is None or authority is None:
        raise ProtocolError("a proxy is asked with CONNECT, or for an http:// URL")
    port = int(authority[2] or 80)
    if not 0 < port < 65_536:
        raise ProtocolError("the URL has no port that could be")
    target = found[3] if found[3].startswith(b"/") else b"/" + found[3]
    kept = [b"%b %b %b" % (found[1], target, found[4]), b"Host: " + found[2]]
    for line in lines:
        name, colon, _ = line.partition(b":")
        if not colon or _NAME.fullmatch(name) is None or b"\n" in line or b"\0" in line:
            raise ProtocolError("a field of the request is malformed")
        if name.lower() not in _OWN:
            kept.append(line)
    kept.append(b"Connection: close")
    host = authority[1].decode("ascii").removeprefix("[").removesuffix("]")
    return host, port, b"\r\n".join([*kept, b"", b""])
