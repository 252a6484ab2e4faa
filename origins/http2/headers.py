"""A request as HTTP/2 header fields (RFC 9113 8.2, 8.3), or a refusal."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pyconnector.origins.failures import quoted, refused
from pyconnector.web.header_names import CONNECTION_SPECIFIC, is_token

if TYPE_CHECKING:
    from pyconnector.origins.base import Headers, OriginRequest

_VALUE = re.compile(rb"[\t !-~\x80-\xff]*")
_TARGET = re.compile(rb"[/*][!-~\x80-\xff]*")
_AUTHORITY = re.compile(rb"[!-~\x80-\xff]*")
#: Fields that belong to one HTTP/1.1 hop (RFC 9113 8.2.2); `te: trailers` alone survives.
_CONNECTION_FIELDS = CONNECTION_SPECIFIC | {b"host", b"content-length", b"http2-settings"}


def encode_headers(request: OriginRequest, *, scheme: bytes, host_header: str = "") -> Headers:
    """Return the header block of `request`.

    Raises:
        OriginError: a part of it would be malformed in HTTP/2 (status 400).
    """
    method = request.method.encode("utf-8", "replace")
    target = request.target.encode("utf-8", "surrogateescape") or b"/"
    if target.startswith(b"?"):
        target = b"/" + target
    authority = (host_header or request.host).encode("utf-8", "surrogateescape")
    if not is_token(method.lower()):
        raise refused(f"{quoted(request.method)!r} is no method")
    if not _TARGET.fullmatch(target):
        raise refused("its path holds a space or a control character, or does not begin with /")
    if not _AUTHORITY.fullmatch(authority):
        raise refused("its host holds a space or a control character")
    fields: Headers = [(b":method", method), (b":scheme", scheme), (b":authority", authority), (b":path", target)]
    named = _named_in_connection(request.headers)
    for name, value in request.headers:
        lowered = name.lower()
        if lowered in _CONNECTION_FIELDS or lowered in named or (host_header and lowered == b"x-forwarded-host"):
            continue
        if lowered == b"te" and value.strip().lower() != b"trailers":
            continue
        if not is_token(lowered):
            raise refused(f"{quoted(name.decode('latin-1'))!r} is no name for a header field")
        if not _VALUE.fullmatch(value):
            raise refused(f"the value of its header {quoted(name.decode('latin-1'))} holds a control character")
        fields.append((lowered, value.strip(b" \t")))
    if host_header:
        fields.append((b"x-forwarded-host", request.host.encode("utf-8", "surrogateescape")))
    if request.body_length or (request.body_length == 0 and request.method in {"POST", "PUT", "PATCH"}):
        fields.append((b"content-length", b"%d" % request.body_length))
    return fields


def _named_in_connection(headers: Headers) -> frozenset[bytes]:
    """Fields that a Connection header declares to be this hop's own; `te` is judged by its value."""
    names = {
        part.strip().lower() for name, value in headers if name.lower() == b"connection" for part in value.split(b",")
    }
    return frozenset(names - {b"te"})
