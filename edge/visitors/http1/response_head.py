"""The head of a connector's response as the visitor gets it, and how its body is framed (RFC 9112 6.3). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from pyconnector.edge.visitors.pages import status_line
from pyconnector.web.header_names import HOP_BY_HOP, INTERNAL_PREFIXES

if TYPE_CHECKING:
    from pyconnector.edge.visitors.http1.request_parser import VisitorRequest

    Headers = list[tuple[bytes, bytes]]

_NOT_IN_TRAILERS = HOP_BY_HOP | {b"content-length", b"host", b"content-encoding", b"content-type", b"set-cookie"}
_DIGITS = re.compile(rb"[0-9]{1,18}")
_NO_OPTIONS: frozenset[bytes] = frozenset()


class BadResponse(Exception):
    """A response that no visitor may see. The text is one sentence."""


class Framing(Enum):
    """How a visitor learns where the body ends."""

    NONE = "no body"
    LENGTH = "Content-Length"
    CHUNKED = "chunked"
    UNTIL_CLOSE = "end of the connection"


@dataclass(slots=True, kw_only=True)
class ResponseHead:
    """A head ready to write."""

    data: bytes
    framing: Framing
    length: int
    "Bytes of the body where `framing` is LENGTH."
    keep_alive: bool


def final_head(status: int, headers: Headers, request: VisitorRequest, *, keep_alive: bool) -> ResponseHead:
    """Return the head of a final response.

    Raises:
        BadResponse: it contradicts itself, or is no final response.
    """
    if not 200 <= status <= 999:
        raise BadResponse(f"The connector answered with status {status}, which is no final one.")
    fields, length = end_to_end(headers)
    if request.method == "HEAD" or status in (204, 304):
        framing = Framing.NONE
        if status == 204:
            length = None  # RFC 9110 8.6: none may be there
    elif length is not None:
        framing = Framing.LENGTH
    elif request.version == "1.1":
        framing = Framing.CHUNKED
        fields.append((b"Transfer-Encoding", b"chunked"))
    else:
        framing = Framing.UNTIL_CLOSE
        keep_alive = False
    if length is not None:
        fields.append((b"Content-Length", b"%d" % length))
    if not keep_alive:
        fields.append((b"Connection", b"close"))
    elif request.version == "1.0":
        fields.append((b"Connection", b"keep-alive"))
    return ResponseHead(data=_written(status, fields), framing=framing, length=length or 0, keep_alive=keep_alive)


def switching_head(headers: Headers) -> bytes:
    """Return the head of a 101 response to a WebSocket request, its Connection and Upgrade as the hop wants them.

    Raises:
        BadResponse: it holds what cannot be written.
    """
    fields, _ = end_to_end(headers)
    return _written(101, [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket"), *fields])


def trailer_fields(trailers: Headers) -> Headers:
    """Return the trailer fields that a visitor may get: none that speaks of framing, of a hop or of how to route."""
    return [
        field
        for field in trailers
        if (name := field[0].lower()) not in _NOT_IN_TRAILERS and not name.startswith(INTERNAL_PREFIXES)
    ]


def trailer_section(trailers: Headers) -> bytes:
    """Return what ends a chunked body, trailer fields included (RFC 9112 7.1.2).

    Raises:
        BadResponse: a field holds what cannot be written.
    """
    return b"0\r\n%b\r\n" % _block(trailer_fields(trailers))


def end_to_end(headers: Headers) -> tuple[Headers, int | None]:
    """Return the fields meant for the visitor, and the Content-Length.

    Raises:
        BadResponse: the Content-Length is not one number.
    """
    fields: Headers = []
    lengths: set[bytes] = set()
    nominated = _NO_OPTIONS
    for field in headers:
        name = field[0].lower()
        if name == b"content-length":
            lengths.add(field[1])
        elif name == b"connection":
            nominated |= {option.strip().lower() for option in field[1].split(b",")}
        elif name not in HOP_BY_HOP and not (name.startswith(b"cf-") and name.startswith(INTERNAL_PREFIXES)):
            fields.append(field)
    if nominated - {b"", b"close", b"keep-alive", b"upgrade"}:
        fields = [field for field in fields if field[0].lower() not in nominated]
    if not lengths:
        return fields, None
    value = lengths.pop()
    if lengths or not _DIGITS.fullmatch(value):
        raise BadResponse("The Content-Length of the response is not one number.")
    return fields, int(value)


def _written(status: int, fields: Headers) -> bytes:
    return b"%b%b\r\n" % (status_line(status), _block(fields))


def _block(fields: Headers) -> bytes:
    block = b"".join([b"%b: %b\r\n" % field for field in fields])
    # The connector may be anyone's: a line end inside a field would forge the visitor's next response.
    if block.count(b"\n") != len(fields) or block.count(b"\r") != len(fields) or b"\0" in block:
        raise BadResponse("A header field of the response holds a line end or a NUL.")
    return block
