"""HTTP heads as stream metadata, and back (wire.md 6 and 7).

The connector turns a ConnectRequest into a `RequestHead` and an origin's answer into metadata; the local edge does the
reverse. Nothing that could be read as a second message gets through: names are tokens, values hold no controls, and
the body's framing leaves the headers and becomes one number.

Framing, decided: equal repeats of Content-Length count once, differing ones are refused, and so are one beside
chunked and every transfer coding but a single chunked (the reference takes any value that contains the word).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.http.header_names import (
    HEADER_PREFIX,
    canonical_name,
    check_name,
    check_no_controls,
    check_values,
    metadata_key,
    shown,
)
from pyconnector.protocol.http.serialized_headers import parse_serialized_headers, serialize_headers
from pyconnector.protocol.streams.connect import ConnectionType, ConnectRequest, ConnectResponse, Metadata

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "FLOW_ID_KEY",
    "HOST_KEY",
    "METHOD_KEY",
    "RATE_LIMITED",
    "STATUS_KEY",
    "TRACE_KEY",
    "RequestHead",
    "canonical_name",
    "content_length",
    "error_status",
    "lookup",
    "parse_serialized_headers",
    "request_head",
    "request_metadata",
    "request_target",
    "response_head",
    "response_metadata",
    "serialize_headers",
]

METHOD_KEY: Final = b"HttpMethod"
HOST_KEY: Final = b"HttpHost"
STATUS_KEY: Final = b"HttpStatus"
FLOW_ID_KEY: Final = b"FlowID"
TRACE_KEY: Final = b"cf-trace-id"
#: The entry that goes with the error of a request which the flow limiter refused.
RATE_LIMITED: Final = (b"FlowConnectRateLimited", b"true")

#: Names that speak about this hop alone. The framing ones become `body_length`; Host has a key of its own; a trailer
#: has no place after the raw body of a stream; the last is the edge's word to the connector.
_HOP_NAMES: Final = frozenset(
    {b"Content-Length", b"Transfer-Encoding", b"Host", b"Trailer", b"Cf-Cloudflared-Proxy-Connection-Upgrade"}
)
_TRACE_NAME: Final = canonical_name(TRACE_KEY)
#: Names that no cache holds, because something is to be done about them.
_MARKED_NAMES: Final = _HOP_NAMES | {_TRACE_NAME}
#: What a response never shows: its body is raw on the stream, and nothing can follow it.
RESPONSE_HOP_KEYS: Final = frozenset({b"HttpHeader:Transfer-Encoding", b"HttpHeader:Trailer"})

_is_method = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
# What the reference's HTTP client takes for Host, and bytes beyond ASCII; said by what it is not, because a class that
# reaches to the end of Unicode takes 2 ms to compile.
_is_host = re.compile(r"[^\x00-\x20\x7f\"#/<>?@\\^`{|}]*").fullmatch
_url_authority = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.\-]*:)?//[^/?#]*").match
_is_length = re.compile(rb"[0-9]{1,18}").fullmatch
_unfit_for_target = re.compile(r"[\x00-\x20\x7f]").search

#: Whole metadata keys to canonical names; holds no hop names. Bounded like the caches of `header_names`.
_names_by_key: dict[bytes, bytes] = {}
#: Hosts that were found fit, as text. A visitor invents them for free: bounded in the same way.
_hosts: dict[bytes, str] = {}
_MAX_CACHED_KEYS: Final = 1_024
_MAX_CACHED_KEY_BYTES: Final = 80
_STATUS_VALUES: Final = {status: b"%d" % status for status in range(100, 1000)}
_METHODS: Final = {b"": "GET"} | {
    method.encode(): method for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
}
_CHUNKED: Final = (b"HttpHeader:Transfer-Encoding", b"chunked")


@dataclass(slots=True)
class RequestHead:
    """The head of one HTTP request. Not frozen: one is made for each request, and its list could be changed anyway."""

    method: str
    host: str
    "Value for the Host field; may hold a port; empty where the edge gave none."
    target: str
    "Path and query as received; UTF-8 with surrogateescape."
    headers: list[tuple[bytes, bytes]]
    "Canonical names, in order, duplicates kept; without Host, framing and the edge's words to the connector."
    body_length: int | None = 0
    "0 for no body, None for a body of unknown length, else its exact length in bytes."


def request_head(request: ConnectRequest) -> RequestHead:
    """Read the head of the HTTP request that a data stream declares.

    Raises:
        ProtocolError: a key, name, value, method, host, target or framing is malformed, or it is a TCP stream.
    """
    if request.type is ConnectionType.TCP:
        raise ProtocolError("a TCP stream carries no HTTP request")
    metadata = request.metadata
    check_values(metadata)  # keys are looked at one by one
    headers: list[tuple[bytes, bytes]] = []
    append = headers.append
    name_of = _names_by_key.get
    method = host = b""
    hop: list[tuple[bytes, bytes]] = []
    for key, value in metadata:
        name = name_of(key)
        if name is not None:
            append((name, value))
        elif key == METHOD_KEY:
            method = value
        elif key == HOST_KEY:
            host = value
        else:
            name = _header_name(key)
            if name is None:
                continue
            if name in _HOP_NAMES:
                hop.append((name, value))
            elif name != _TRACE_NAME:
                append((name, value))
    length = _request_framing(hop) if hop else 0
    return RequestHead(
        method_text(method),
        host_text(host),
        request_target(request.dest),
        headers,
        length if request.type is ConnectionType.HTTP else 0,
    )


def _header_name(key: bytes) -> bytes | None:
    """Return the canonical name of the header that metadata `key` stands for; None if it stands for something else."""
    if not key.startswith(HEADER_PREFIX):
        # The reference takes such a key for a header wherever the word stands; nobody means that.
        if b"HttpHeader" in key:
            raise ProtocolError(f"the metadata key {shown(key)} is malformed")
        return None
    raw = key[len(HEADER_PREFIX) :]
    check_name(raw)
    name = canonical_name(raw)
    if name not in _MARKED_NAMES and len(key) <= _MAX_CACHED_KEY_BYTES:
        if len(_names_by_key) >= _MAX_CACHED_KEYS:
            _names_by_key.clear()
        _names_by_key[key] = name
    return name


def passed_name(name: bytes) -> bytes | None:
    """Return the canonical name of a request's field that an origin is shown; None for one that this hop keeps.

    Raises:
        ProtocolError: `name` is no token.
    """
    check_name(name)
    canonical = canonical_name(name)
    return None if canonical in _MARKED_NAMES else canonical


def method_text(value: bytes) -> str:
    """Return the method, GET where none is stated.

    Raises:
        ProtocolError: it is no token.
    """
    return _METHODS.get(value) or _method(value)


def host_text(value: bytes) -> str:
    """Return what Host is to say.

    Raises:
        ProtocolError: it holds a character that no host has.
    """
    return _hosts.get(value) or _host(value)


def _method(value: bytes) -> str:
    method = value.decode("ascii", "replace")
    if not _is_method(method):
        raise ProtocolError(f"the method {shown(value)} is not a token")
    return method


def _host(value: bytes) -> str:
    host = value.decode("utf-8", "surrogateescape")
    if not _is_host(host):
        raise ProtocolError(f"the host {shown(value)} holds a character that no host has")
    if len(value) <= _MAX_CACHED_KEY_BYTES:
        if len(_hosts) >= _MAX_CACHED_KEYS:
            _hosts.clear()
        _hosts[value] = host
    return host


def request_target(dest: str) -> str:
    """Return path and query of the URL `dest`, as they are: nothing is decoded, normalised or escaped anew.

    A space becomes %20, for it would end the target in a request line; a fragment is cut, as nothing sends one.

    Raises:
        ProtocolError: it is no URL, or holds a control character.
    """
    authority = _url_authority(dest)
    target = dest[authority.end() :] if authority else dest
    if "#" in target:
        target = target[: target.index("#")]
    if not target.startswith("/"):
        if target.startswith("?") or not target:
            target = "/" + target
        elif target != "*":
            raise ProtocolError("the destination of a request is no URL")
    return fit_target(target)


def fit_target(target: str) -> str:
    """Return a path and query without a space: each becomes %20.

    Raises:
        ProtocolError: it holds a control character.
    """
    if _unfit_for_target(target):
        target = target.replace(" ", "%20")
        if _unfit_for_target(target):
            raise ProtocolError("the URL of a request holds a control character")
    return target


def content_length(values: Sequence[bytes]) -> int | None:
    """Return what Content-Length fields say; None if there are none. Repeats must be equal (RFC 9110, 8.6).

    Raises:
        ProtocolError: a value is not a plain decimal number, or two differ.
    """
    if not values:
        return None
    first = values[0]
    if not _is_length(first):
        raise ProtocolError("a Content-Length is not a decimal number")
    if any(value != first for value in values):
        raise ProtocolError("two Content-Length fields differ")
    return int(first)


def _request_framing(fields: Iterable[tuple[bytes, bytes]]) -> int | None:
    """Return the body length that the framing fields declare: 0 for none, None for chunked."""
    lengths = [value for name, value in fields if name == b"Content-Length"]
    codings = [value for name, value in fields if name == b"Transfer-Encoding"]
    length = content_length(lengths)
    if not codings:
        return length or 0
    if length is not None:
        raise ProtocolError("a request has both Content-Length and Transfer-Encoding")
    if len(codings) > 1 or codings[0].strip(b" \t").lower() != b"chunked":
        raise ProtocolError("the only transfer coding a request may have is chunked")
    return None


def request_metadata(head: RequestHead) -> Metadata:
    """Return the metadata that declares `head`, as an edge writes it. Framing comes from `body_length` alone.

    Raises:
        ProtocolError: a name is no token or a value holds a control character.
    """
    pairs = [
        (METHOD_KEY, head.method.encode("utf-8", "surrogateescape")),
        (HOST_KEY, head.host.encode("utf-8", "surrogateescape")),
    ]
    pairs += [(metadata_key(name), value) for name, value in head.headers if canonical_name(name) not in _HOP_NAMES]
    if head.body_length is None:
        pairs.append(_CHUNKED)
    elif head.body_length:
        pairs.append((b"HttpHeader:Content-Length", b"%d" % head.body_length))
    check_no_controls(pairs)
    return tuple(pairs)


def response_metadata(status: int, headers: Iterable[tuple[bytes, bytes]]) -> Metadata:
    """Return the metadata of an origin's answer: order and duplicates kept, names canonical.

    Raises:
        ProtocolError: the status has not three digits, a name is no token or a value holds a control character.
    """
    number = _STATUS_VALUES.get(status)
    if number is None:
        raise ProtocolError(f"the status {status} has not three digits")
    pairs = [(STATUS_KEY, number)]
    append = pairs.append
    for name, value in headers:
        key = metadata_key(name)
        if key not in RESPONSE_HOP_KEYS:
            append((key, value))
    check_values(pairs)
    return tuple(pairs)


def response_head(response: ConnectResponse) -> tuple[int, list[tuple[bytes, bytes]]]:
    """Return status and headers of a connector's answer, which must not be an error.

    Raises:
        ProtocolError: the status is missing or malformed, or a key, name or value is malformed.
    """
    if response.error:
        raise ProtocolError("an answer that is an error has no status")
    check_no_controls(response.metadata)
    status = b""
    headers = []
    for key, value in response.metadata:
        if key == STATUS_KEY:
            status = value
            continue
        name = _names_by_key.get(key) or _header_name(key)
        if name is not None:
            headers.append((name, value))
    if len(status) != 3 or not status.isdigit() or status < b"100":
        raise ProtocolError(f"the status {shown(status)} of an answer has not three digits")
    return int(status), headers


def error_status(response: ConnectResponse) -> int:
    """Return the status that goes with a connector's error; 502 where it gave none, or one that is no error."""
    status = lookup(response.metadata, STATUS_KEY)
    return int(status) if len(status) == 3 and status.isdigit() and b"400" <= status < b"600" else 502


def lookup(metadata: Metadata, key: bytes) -> bytes:
    """Return the value of `key`, b"" if it is not there. Of several the last counts, as in the reference."""
    for name, value in reversed(metadata):
        if name == key:
            return value
    return b""
