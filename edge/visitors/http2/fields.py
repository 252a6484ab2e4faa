"""Whether the field sections of a visitor are well-formed (RFC 9113 8.3.1; the rest is in `web.http2.fields`). Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyconnector.web.http2.fields import Malformed, check_section

if TYPE_CHECKING:
    from collections.abc import Sequence

    Fields = Sequence[tuple[bytes, bytes]]

_OF_A_REQUEST = frozenset((b":method", b":scheme", b":path", b":authority"))


def check_request(fields: Fields) -> None:
    """Let a request's field section pass.

    Raises:
        Malformed: its stream is to be reset.
    """
    pseudo = check_section(fields, _OF_A_REQUEST)
    method = pseudo.get(b":method")
    if method is None:
        raise Malformed("there is no :method")
    if method == b"CONNECT":
        if b":scheme" in pseudo or b":path" in pseudo:
            raise Malformed("CONNECT has a :scheme or a :path")
    elif b":scheme" not in pseudo or not pseudo.get(b":path"):
        raise Malformed("there is no :scheme or no :path")
    authority = pseudo.get(b":authority")
    if authority is not None and any(name == b"host" and value != authority for name, value in fields):
        raise Malformed("Host names another than :authority")


def check_trailers(fields: Fields) -> None:
    """Let a request's trailer section pass.

    Raises:
        Malformed: its stream is to be reset.
    """
    check_section(fields)


def with_one_cookie(fields: Fields) -> list[tuple[bytes, bytes]]:
    """Return the fields, cookies that came in several joined into the first (8.2.3)."""
    cookies = [value for name, value in fields if name == b"cookie"]
    if len(cookies) < 2:
        return list(fields)
    joined = []
    for name, value in fields:
        if name != b"cookie":
            joined.append((name, value))
        elif cookies:
            joined.append((name, b"; ".join(cookies)))
            cookies = []
    return joined
