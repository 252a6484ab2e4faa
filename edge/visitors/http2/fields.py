"""Whether a field section is well-formed as HTTP/2 has it (RFC 9113 8.2 and 8.3). Pure.

A malformed request is a fault of one stream (8.1.1), not of the connection that it shares with others. The library
would end the connection, so it gets no fields to judge: they are judged here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pyconnector.web.header_names import CONNECTION_SPECIFIC

if TYPE_CHECKING:
    from collections.abc import Sequence

    Fields = Sequence[tuple[bytes, bytes]]

_BAD_NAME = re.compile(rb"[\x00-\x20A-Z\x7f-\xff]|(?<=.):|^$", re.DOTALL)
_BAD_VALUE = re.compile(rb"[\x00\r\n]|^[ \t]|[ \t]\Z")
_OF_A_REQUEST = frozenset((b":method", b":scheme", b":path", b":authority"))


class Malformed(Exception):
    """What is wrong with a field section, in words for a log. Caught by the reader of the connection."""


def check_request(fields: Fields) -> None:
    """Let a request's field section pass.

    Raises:
        Malformed: its stream is to be reset.
    """
    pseudo = _check(fields)
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
    if _check(fields):
        raise Malformed("there is a pseudo-field in a trailer section")


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


def _check(fields: Fields) -> dict[bytes, bytes]:
    """Check what is the same everywhere; return the pseudo-fields."""
    pseudo: dict[bytes, bytes] = {}
    regular = False
    for name, value in fields:
        if _BAD_NAME.search(name):
            raise Malformed("the name of a field has a capital or another character that no name may have")
        if _BAD_VALUE.search(value):
            raise Malformed("the value of a field has NUL, a line end, or blanks around it")
        if name[:1] == b":":
            if regular or name in pseudo or name not in _OF_A_REQUEST:
                raise Malformed("a pseudo-field is unknown, comes twice or too late")
            pseudo[name] = value
            continue
        regular = True
        if name in CONNECTION_SPECIFIC:
            raise Malformed("a field belongs to a connection of HTTP/1.1")
        if name == b"te" and value.lower() != b"trailers":
            raise Malformed("TE has another value than trailers")
    return pseudo
