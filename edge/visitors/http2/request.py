"""A request of an HTTP/2 visitor (RFC 9113 8.3), judged as strictly as one of HTTP/1.1. Pure.

`fields` has made sure already that pseudo-fields come first and once, that names are lower-case, and that no field
belongs to a connection.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pyconnector.edge.visitors.http1.request_parser import (
    HOST,
    MAX_FIELDS,
    BadRequest,
    VisitorRequest,
    end_to_end,
    expects_continue,
    wants_trailers,
)
from pyconnector.edge.visitors.http2.engine import MAX_HEADER_LIST

if TYPE_CHECKING:
    from collections.abc import Iterable

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PATH = re.compile(rb"/[!\"$-~]*")  # visible ASCII without the # of a fragment
_DIGITS = re.compile(rb"[0-9]{1,18}")


def visitor_request(fields: Iterable[tuple[bytes, bytes]], *, ended: bool) -> VisitorRequest:
    """Return the request that a header block declares; `ended` says that no body follows.

    Raises:
        BadRequest: it cannot be served, or could be read in more than one way.
    """
    pseudo: dict[bytes, bytes] = {}
    regular: list[tuple[bytes, bytes]] = []
    size = 0
    for name, value in fields:
        size += len(name) + len(value) + 32
        if name.startswith(b":"):
            pseudo[name] = value
        else:
            regular.append((name, value))
    if len(regular) > MAX_FIELDS:
        raise BadRequest("The request has too many header fields.", 431)
    if size > MAX_HEADER_LIST:
        raise BadRequest("The header of the request is too large.", 431)
    method = pseudo.get(b":method", b"")
    if not _TOKEN.fullmatch(method):
        raise BadRequest("The method of the request is not a token.")
    if method == b"CONNECT":
        raise BadRequest("This is no forward proxy: CONNECT is not served here.", 405)
    if pseudo.get(b":scheme") not in (b"http", b"https"):
        raise BadRequest("The scheme of the request is neither http nor https.")
    special: dict[bytes, list[bytes]] = {}
    headers = end_to_end(regular, special)
    body_length = _body_length(special.get(b"content-length"), ended=ended)
    return VisitorRequest(
        method=method.decode("ascii"),
        target=_target(pseudo.get(b":path", b""), method),
        host=_host(pseudo.get(b":authority"), special.get(b"host", [])),
        headers=headers,
        body_length=body_length,
        websocket=False,
        keep_alive=True,
        expects_continue=expects_continue(special, "2") and body_length != 0,
        version="2",
        wants_trailers=wants_trailers(special),
    )


def is_grpc(fields: Iterable[tuple[bytes, bytes]]) -> bool:
    """Return whether a header block says that gRPC is spoken, so that errors are to be told in its way."""
    return any(name == b"content-type" and value.startswith(b"application/grpc") for name, value in fields)


def _body_length(lengths: list[bytes] | None, *, ended: bool) -> int | None:
    if lengths and (len(lengths) != 1 or not _DIGITS.fullmatch(lengths[0])):
        raise BadRequest("The Content-Length of the request is not one number.")
    length = int(lengths[0]) if lengths else None
    if ended:
        if length:
            raise BadRequest("The request has no body, but a Content-Length.")
        return 0
    return length


def _target(path: bytes, method: bytes) -> bytes:
    if (path == b"*" and method == b"OPTIONS") or _PATH.fullmatch(path):
        return path
    raise BadRequest("The target of the request is not a path.")


def _host(authority: bytes | None, hosts: list[bytes]) -> bytes:
    named = {*hosts, authority} - {None}
    host = named.pop() if len(named) == 1 else None
    if host is None:
        raise BadRequest("The request does not name one host.")
    if not HOST.fullmatch(host):
        raise BadRequest("The Host of the request is not the name of a host.")
    return host
