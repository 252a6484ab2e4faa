"""The SETTINGS of HTTP/3 (RFC 9114 7.2.4), and the number that stands before a datagram (RFC 9297 2.1). Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pyconnector.web.http3.frames import ErrorCode, Http3Error
from pyconnector.web.varints import encode_integer, read_integer

if TYPE_CHECKING:
    from collections.abc import Mapping

QPACK_MAX_TABLE_CAPACITY, MAX_FIELD_SECTION_SIZE, QPACK_BLOCKED_STREAMS = 0x1, 0x6, 0x7
#: RFC 9220 5, and RFC 9297 5.1.
ENABLE_CONNECT_PROTOCOL, H3_DATAGRAM = 0x8, 0x33
#: HTTP/2's, which must not come (RFC 9114 7.2.4.1).
_OF_HTTP2: Final = frozenset((0x0, 0x2, 0x3, 0x4, 0x5))
_FLAGS: Final = frozenset((ENABLE_CONNECT_PROTOCOL, H3_DATAGRAM))
#: Largest quarter of a stream's number (RFC 9297 2.1).
MAX_QUARTER: Final = 2**60 - 1


def encode_settings(settings: Mapping[int, int]) -> bytes:
    """Return the payload of a SETTINGS frame."""
    return b"".join(encode_integer(key) + encode_integer(value) for key, value in settings.items())


def parse_settings(payload: bytes) -> dict[int, int]:
    """Return what a SETTINGS frame says.

    Raises:
        Http3Error: it is cut short, says something twice, something of HTTP/2, or neither 0 nor 1 of what is a flag.
    """
    found: dict[int, int] = {}
    at = 0
    while at < len(payload):
        key = read_integer(payload, at)
        value = read_integer(payload, key[1]) if key is not None else None
        if key is None or value is None:
            raise Http3Error(ErrorCode.FRAME_ERROR, "SETTINGS are cut short")
        if key[0] in found or key[0] in _OF_HTTP2 or (key[0] in _FLAGS and value[0] > 1):
            raise Http3Error(ErrorCode.SETTINGS_ERROR, f"setting {key[0]:#x} comes twice, or must not be {value[0]}")
        found[key[0]] = value[0]
        at = value[1]
    return found


def encode_datagram(stream_id: int, payload: bytes) -> bytes:
    """Return the QUIC datagram that carries an HTTP datagram of a request."""
    return encode_integer(stream_id // 4) + payload


def parse_datagram(data: bytes) -> tuple[int, bytes]:
    """Return the number of the request's stream, and the HTTP datagram.

    Raises:
        Http3Error: no request can have that number.
    """
    found = read_integer(data, 0)
    if found is None or found[0] > MAX_QUARTER:
        raise Http3Error(ErrorCode.DATAGRAM_ERROR, "a datagram names no stream that there could be")
    return found[0] * 4, data[found[1] :]
