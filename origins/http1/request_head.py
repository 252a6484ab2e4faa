"""Write the head of a request as the reference's HTTP client does (reference/ingress.md 7), or refuse to.

Request line, Host, User-Agent if there was one, the body's framing, then the other fields in the order they came,
then what the hop to the origin needs. Nothing that could be read as more than one field ever gets out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pyconnector.origins.base import Headers, OriginRequest, RequestKind
from pyconnector.origins.failures import quoted, refused

#: Field names whose treatment is remembered, and the longest of them.
MAX_REMEMBERED_NAMES = 2048
MAX_REMEMBERED_NAME = 64

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VISIBLE = re.compile(rb"[!-~\x80-\xff]*")
#: Methods that may be sent again when nobody answered (RFC 9110 9.2.2).
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
_METHODS = {method: method.encode() + b" " for method in (*_IDEMPOTENT, "POST", "PATCH")}
#: Methods that say `Content-Length: 0` where they have no body.
_EXPECT_BODY = frozenset({"POST", "PUT", "PATCH"})

_KEEP_ALIVE = b"Connection: keep-alive\r\n\r\n"
_UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-Websocket-Version: 13\r\n\r\n"


# What is done with a field; plain numbers, because this is looked at for every field of every request.
_KEEP = 0
_DROP = 1
_AGENT = 2
_EXPECT = 3
_IDEMPOTENCY = 4
_UPGRADING = 5
_FORWARDED_HOST = 6

_TREATMENTS = {
    b"host": _DROP,
    b"connection": _DROP,
    b"content-length": _DROP,
    b"transfer-encoding": _DROP,
    b"trailer": _DROP,
    b"user-agent": _AGENT,
    b"expect": _EXPECT,
    b"idempotency-key": _IDEMPOTENCY,
    b"x-idempotency-key": _IDEMPOTENCY,
    b"upgrade": _UPGRADING,
    b"sec-websocket-version": _UPGRADING,
    b"x-forwarded-host": _FORWARDED_HOST,
}
_remembered: dict[bytes, tuple[int, bytes]] = {}


@dataclass(slots=True)
class RequestHead:
    """What goes out first, and what it means for the rest."""

    wire: bytes
    expects_continue: bool
    replayable: bool
    "May be sent again on a new connection when an old one gave no answer."


def encode_head(request: OriginRequest, *, body_length: int | None, host_header: str = "") -> RequestHead:
    """Return the head of `request` for a body of `body_length` (None: chunked).

    `host_header` takes the place of the request's Host, which then goes out as X-Forwarded-Host.

    Raises:
        OriginError: a part of it would break out of its place (status 400).
    """
    upgrade = request.kind is RequestKind.WEBSOCKET
    method = request.method
    kept, agent, expects, has_key = _sorted_out(request.headers, upgrade=upgrade, forwarded_host=bool(host_header))
    host = _visible(host_header or request.host, "host")
    lines = [_method(method) + _target(request.target) + b" HTTP/1.1\r\nHost: " + host]
    if agent:
        lines.append(b"User-Agent: " + agent)
    if upgrade:
        body_length = 0
    if body_length is None:
        lines.append(b"Transfer-Encoding: chunked")
    elif body_length or method in _EXPECT_BODY:
        lines.append(b"Content-Length: %d" % body_length)
    lines += kept
    if host_header:
        lines.append(b"X-Forwarded-Host: " + _visible(request.host, "host"))
    lines.append(_UPGRADE if upgrade else _KEEP_ALIVE)
    wire = b"\r\n".join(lines)
    breaks = len(lines) + (4 if upgrade else 2)
    if wire.count(b"\n") != breaks or wire.count(b"\r") != breaks or b"\0" in wire:
        raise _culprit(request)
    return RequestHead(wire, expects and body_length != 0, has_key or method in _IDEMPOTENT)


def _sorted_out(headers: Headers, *, upgrade: bool, forwarded_host: bool) -> tuple[list[bytes], bytes, bool, bool]:
    """The lines to keep, the User-Agent, whether `100 Continue` is expected, whether there is an idempotency key."""
    kept: list[bytes] = []
    agent = b""
    expects = has_key = False
    for name, value in headers:
        treatment, prefix = _remembered.get(name) or _remember(name)
        if treatment:
            if treatment == _AGENT:
                agent = agent or value
                continue
            if (
                treatment == _DROP
                or (treatment == _UPGRADING and upgrade)
                or (treatment == _FORWARDED_HOST and forwarded_host)
            ):
                continue
            if treatment == _EXPECT:
                expects = expects or value.lower() == b"100-continue"
            elif treatment == _IDEMPOTENCY:
                has_key = True
        kept.append(prefix + value)
    return kept, agent, expects, has_key


def _remember(name: bytes) -> tuple[int, bytes]:
    if _TOKEN.fullmatch(name) is None:
        raise refused(f"{quoted(name.decode('latin-1'))!r} is no name for a header field")
    known = (_TREATMENTS.get(name.lower(), _KEEP), name + b": ")
    if len(name) <= MAX_REMEMBERED_NAME:
        if len(_remembered) >= MAX_REMEMBERED_NAMES:
            _remembered.clear()
        _remembered[name] = known
    return known


def _method(method: str) -> bytes:
    encoded = _METHODS.get(method)
    if encoded is None:
        token = method.encode("utf-8", "replace")
        if _TOKEN.fullmatch(token) is None:
            raise refused(f"{quoted(method)!r} is no method")
        return token + b" "
    return encoded


def _target(target: str) -> bytes:
    encoded = _visible(target, "path")
    if encoded[:1] == b"/" or encoded == b"*":
        return encoded
    if encoded[:1] in (b"", b"?"):  # a URL without a path asks for its root
        return b"/" + encoded
    raise refused("its path does not begin with /")


def _visible(text: str, what: str) -> bytes:
    """`text` as bytes. Raises OriginError where it holds a space or a control character."""
    try:
        if text.isascii():
            if text.isprintable() and " " not in text:
                return text.encode("ascii")
        elif (encoded := text.encode("utf-8", "surrogateescape")) and _VISIBLE.fullmatch(encoded):
            return encoded
    except UnicodeEncodeError:
        pass
    raise refused(f"its {what} holds a space or a control character")


def _culprit(request: OriginRequest) -> Exception:
    for name, value in request.headers:
        if re.search(rb"[\0\r\n]", value):
            return refused(f"the value of its header {quoted(name.decode('latin-1'))} holds a line break or NUL")
    return refused("it holds a line break or NUL")
