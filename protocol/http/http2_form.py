"""Requests and responses of the tunnel protocol as HTTP/2 field sections (wire.md 14). Pure.

The edge sends requests, the connector answers them. Names are in lower case on the wire and canonical outside.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, TypeAlias

from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.http.header_names import (
    canonical_name,
    check_name,
    check_no_controls,
    check_values,
    metadata_key,
    remember,
)
from pyconnector.protocol.http.headers import (
    RESPONSE_HOP_KEYS,
    RequestHead,
    content_length,
    fit_target,
    host_text,
    method_text,
    passed_name,
)
from pyconnector.protocol.http.serialized_headers import (
    MAX_SERIALIZED_BYTES,
    parse_serialized_headers,
    serialize_headers,
)
from pyconnector.web.header_names import CONNECTION_SPECIFIC
from pyconnector.web.websocket.handshake import accept_value

if TYPE_CHECKING:
    from collections.abc import Sequence

Fields: TypeAlias = list[tuple[bytes, bytes]]

UPGRADE: Final = b"cf-cloudflared-proxy-connection-upgrade"
PROXY_SRC: Final = b"cf-cloudflared-proxy-src"
RESPONSE_HEADERS: Final = b"cf-cloudflared-response-headers"
RESPONSE_META: Final = b"cf-cloudflared-response-meta"
TRACING: Final = b"cf-int-cloudflared-tracing"
FROM_ORIGIN: Final = b'{"src":"origin"}'
FROM_CONNECTOR: Final = b'{"src":"cloudflared"}'
RATE_LIMITED: Final = b'{"src":"cloudflared","flow_rate_limited":true}'
#: Bytes of a configuration update that are taken: what the RPC form of it takes too.
MAX_UPDATE_BYTES: Final = 4_194_304 + 65_536
#: Largest version: they are 32-bit numbers.
MAX_VERSION: Final = 2**31 - 1

#: What an HTTP/2 field section may not hold (RFC 9113 8.2.2), and what is said by other means.
_HOP_NAMES: Final = CONNECTION_SPECIFIC | {b"host", b"content-length"}


class Kind(Enum):
    """What a request of the edge is for."""

    HTTP = "http"
    WEBSOCKET = "websocket"
    TCP = "tcp"
    CONTROL = "control stream"
    UPDATE = "configuration update"


#: Where the headers of an answer are among its fields.
SERIALIZED: Final = 2
#: Headers of an answer that are fields of their own too.
_REPEATED_KEYS: Final = frozenset({metadata_key(b"content-length"), metadata_key(TRACING)})

#: Names of a request's fields to what an origin is shown, where nothing else is to be done about them. Bounded like the
#: caches of `header_names`.
_shown_names: dict[bytes, bytes] = {}

_UPGRADES: Final = {b"update-configuration": Kind.UPDATE, b"websocket": Kind.WEBSOCKET, b"control-stream": Kind.CONTROL}


def kind_of(fields: Fields) -> Kind:
    """Say what a request is for, in the reference's order of looking."""
    upgrade: bytes | None = None
    source: bytes | None = None
    for name, value in fields:
        if name == UPGRADE and upgrade is None:
            upgrade = value
        elif name == PROXY_SRC and source is None:
            source = value
    kind = _UPGRADES.get(upgrade) if upgrade else None
    if kind is Kind.UPDATE or kind is Kind.WEBSOCKET:
        return kind
    return Kind.TCP if source else kind or Kind.HTTP


def first(fields: Sequence[tuple[bytes, bytes]], name: bytes) -> bytes:
    """Return the first value of the lower-case `name`; empty if there is none."""
    return next((value for field, value in fields if field == name), b"")


# -- requests --------------------------------------------------------------------------------------------------------


def read_request(fields: Fields, kind: Kind, *, ended: bool) -> RequestHead:
    """Return the head of an HTTP or WebSocket request; `ended` where no body follows it.

    Raises:
        ProtocolError: a name, value, method, host, target or framing is malformed.
    """
    check_values(fields)  # names are looked at one by one
    pseudo: dict[bytes, bytes] = {}
    headers: Fields = []
    lengths: list[bytes] = []
    cookie = -1  # where it is
    host = b""
    for name, value in fields:
        shown = _shown_names.get(name)
        if shown is not None:
            headers.append((shown, value))
        elif name[:1] == b":":
            pseudo[name] = value
        elif name == b"cookie":  # one field may come in several (RFC 9113 8.2.3)
            if cookie < 0:
                cookie = len(headers)
                headers.append((b"Cookie", value))
            else:
                headers[cookie] = (b"Cookie", headers[cookie][1] + b"; " + value)
        elif name == b"host":
            host = host or value
        elif name == b"transfer-encoding":
            raise ProtocolError("a request over HTTP/2 has a Transfer-Encoding")
        elif name == b"content-length":
            lengths.append(value)
        elif (shown := passed_name(name)) is not None:
            headers.append((remember(_shown_names, name, shown), value))
    target = pseudo.get(b":path", b"").decode("utf-8", "surrogateescape")
    if not target.startswith("/") and target != "*":
        raise ProtocolError("the path of a request does not begin with a slash")
    return RequestHead(
        method_text(pseudo.get(b":method", b"")),
        host_text(pseudo.get(b":authority") or host),
        fit_target(target.partition("#")[0]),
        headers,
        _body_length(lengths, kind, ended=ended),
    )


def _body_length(stated: Sequence[bytes], kind: Kind, *, ended: bool) -> int | None:
    if ended and any(value.strip(b"0") for value in stated):
        raise ProtocolError("a request without a body has a Content-Length")
    length = content_length(stated)
    return 0 if kind is Kind.WEBSOCKET or (ended and length is None) else length


def tcp_destination(fields: Fields) -> str:
    """Return the destination of a TCP request."""
    return first(fields, b":authority").decode("utf-8", "replace")


def claimed(fields: Fields) -> tuple[str, str]:
    """Return method and host as they are stated, unchecked."""
    host = first(fields, b":authority") or first(fields, b"host")
    return first(fields, b":method").decode("utf-8", "replace"), host.decode("utf-8", "replace")


def request_fields(head: RequestHead, *, websocket: bool = False) -> Fields:
    """Return the field section of an HTTP or WebSocket request, as an edge sends it.

    Raises:
        ProtocolError: a name is no token or a value holds a control character.
    """
    fields: Fields = [
        (b":method", head.method.encode("utf-8", "surrogateescape")),
        (b":scheme", b"https"),
        (b":authority", head.host.encode("utf-8", "surrogateescape")),
        (b":path", head.target.encode("utf-8", "surrogateescape")),
    ]
    for name, value in head.headers:
        lower = name.lower()
        check_name(lower)
        if lower in _HOP_NAMES or lower in (UPGRADE, PROXY_SRC) or (lower == b"te" and value.lower() != b"trailers"):
            continue
        fields.append((lower, value.strip(b" \t")))
    if websocket:
        fields.append((UPGRADE, b"websocket"))
    elif head.body_length:
        fields.append((b"content-length", b"%d" % head.body_length))
    check_no_controls(fields)
    return fields


def tcp_request_fields(destination: str, source: str) -> Fields:
    """Return the field section that asks for a TCP connection to `destination`, for `source`."""
    return [*_special(b"POST", destination.encode("utf-8", "surrogateescape")), (PROXY_SRC, source.encode())]


def control_stream_fields() -> Fields:
    """Return the field section that asks for the control stream."""
    return [*_special(b"GET", b"localhost"), (UPGRADE, b"control-stream")]


def update_fields() -> Fields:
    """Return the field section of a configuration update."""
    return [*_special(b"POST", b"localhost"), (UPGRADE, b"update-configuration")]


def _special(method: bytes, authority: bytes) -> Fields:
    return [(b":method", method), (b":scheme", b"https"), (b":authority", authority), (b":path", b"/")]


# -- responses -------------------------------------------------------------------------------------------------------


def response_fields(status: int, headers: Sequence[tuple[bytes, bytes]]) -> Fields:
    """Return the field section of an origin's answer: its headers serialized, 101 as 200 (HTTP/2 has none).

    The serialized headers are the field at `SERIALIZED`.

    Raises:
        ProtocolError: it cannot be carried.
    """
    if not 200 <= status <= 999 and status != 101:
        raise ProtocolError(f"the status {status} is none of a final answer")
    carried: Fields = []
    repeated: Fields = []
    for field in headers:
        key = metadata_key(field[0])
        if key not in RESPONSE_HOP_KEYS:
            carried.append(field)
            if key in _REPEATED_KEYS:
                repeated.append((field[0].lower(), field[1]))
    serialized = serialize_headers(carried)
    if len(serialized) > MAX_SERIALIZED_BYTES:
        raise ProtocolError(f"headers of {len(serialized)} bytes are beyond the limit of {MAX_SERIALIZED_BYTES}")
    return [
        (b":status", b"200" if status == 101 else b"%d" % status),
        (RESPONSE_META, FROM_ORIGIN),
        (RESPONSE_HEADERS, serialized),
        *repeated,
    ]


def failure_fields(status: int, *, rate_limited: bool = False) -> Fields:
    """Return the field section of an error in place of a response. The reference says no more than this either."""
    return [(b":status", b"%d" % status), (RESPONSE_META, RATE_LIMITED if rate_limited else FROM_CONNECTOR)]


def acknowledgement_fields(request: Fields) -> Fields:
    """Return the field section that says that a TCP destination is reached."""
    headers: Fields = []
    if key := first(request, b"sec-websocket-key"):
        accept = accept_value(key)
        headers = [(b"Connection", b"Upgrade"), (b"Sec-Websocket-Accept", accept), (b"Upgrade", b"websocket")]
    return response_fields(200, headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a connector answered."""

    status: int
    headers: Fields
    failed: bool
    "It is an error of the connector, and no answer of the origin."
    rate_limited: bool


def read_response(fields: Fields) -> Answer:
    """Read the field section of a connector's answer.

    Raises:
        ProtocolError: the status is missing or malformed, or the serialized headers are.
    """
    status = first(fields, b":status")
    if len(status) != 3 or not status.isdigit():
        raise ProtocolError("the status of an answer has not three digits")
    meta = first(fields, RESPONSE_META)
    return Answer(
        status=int(status),
        headers=parse_serialized_headers(first(fields, RESPONSE_HEADERS)),
        failed=b'"cloudflared"' in meta,
        rate_limited=b"flow_rate_limited" in meta,
    )


def trailer_fields(trailers: Sequence[tuple[bytes, bytes]]) -> Fields:
    """Return trailers as HTTP/2 has them.

    Raises:
        ProtocolError: a name is no token or belongs into a head, or a value holds a control character.
    """
    fields = [(name.lower(), value.strip(b" \t")) for name, value in trailers]
    check_no_controls(fields)
    for name, _ in fields:
        check_name(name)
        if name in _HOP_NAMES:
            raise ProtocolError("a field of the trailers belongs into the head")
    return fields


def read_trailers(fields: Fields) -> Fields:
    """Return trailers with canonical names; what has no place there is left out.

    Raises:
        ProtocolError: a name is no token or a value holds a control character.
    """
    check_no_controls(fields)
    for name, _ in fields:
        check_name(name)
    return [(canonical_name(name), value) for name, value in fields if name not in _HOP_NAMES]


# -- configuration updates -------------------------------------------------------------------------------------------


def encode_update(version: int, configuration: bytes) -> bytes:
    """Return the body of a configuration update. `configuration` is JSON."""
    return b'{"version":%d,"config":%b}' % (version, configuration)


def decode_update(body: bytes) -> tuple[int, bytes]:
    """Return version and configuration of an update.

    Raises:
        ProtocolError: it is none.
    """
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        raise ProtocolError("a configuration update is not JSON") from None
    version = parsed.get("version") if isinstance(parsed, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or not -MAX_VERSION <= version <= MAX_VERSION:
        raise ProtocolError("a configuration update has no version")
    return version, json.dumps(parsed.get("config"), separators=(",", ":")).encode()


def encode_update_answer(version: int, error: str) -> bytes:
    """Return the answer to an update: the version in force, and why the new one is not."""
    # The reference loses the text of an error and sends an empty object.
    err = {"message": error} if error else None
    return json.dumps({"lastAppliedVersion": version, "err": err}, separators=(",", ":")).encode()


def decode_update_answer(body: bytes) -> tuple[int, str]:
    """Return the version in force at a connector and its error, empty for none.

    Raises:
        ProtocolError: it is no answer.
    """
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        raise ProtocolError("the answer to a configuration update is not JSON") from None
    version = parsed.get("lastAppliedVersion") if isinstance(parsed, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or not -MAX_VERSION <= version <= MAX_VERSION:
        raise ProtocolError("the answer to a configuration update has no version")
    err = parsed.get("err")
    if err is None:
        return version, ""
    message = err.get("message") if isinstance(err, dict) else err
    return version, message if isinstance(message, str) and message else "The connector gave no reason."
