"""A factory for what a peer may send at the start of a stream, legal and not.

The legal ones come from the product's own encoders; the illegal ones are put together word by word, because no encoder
would write them.
"""

from __future__ import annotations

from struct import pack
from typing import TYPE_CHECKING, TypeAlias

from pyconnector.protocol.http.headers import RequestHead, request_metadata, response_metadata
from pyconnector.protocol.streams.connect import ConnectionType, ConnectRequest, ConnectResponse
from pyconnector.protocol.streams.openings import (
    DATA_SIGNATURE,
    MAX_OPENING_BYTES,
    RPC_SIGNATURE,
    VERSION,
    encode_connect_request,
    encode_connect_response,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

Headers: TypeAlias = "Iterable[tuple[bytes, bytes]]"
PREAMBLE = DATA_SIGNATURE + VERSION


# Legal


def http_request(
    url: str = "http://app.test/",
    *,
    method: str = "GET",
    host: str = "app.test",
    headers: Headers = (),
    body_length: int | None = 0,
    type: ConnectionType = ConnectionType.HTTP,
) -> ConnectRequest:
    """A request as an edge declares it."""
    head = RequestHead(method, host, "/", list(headers), body_length)
    return ConnectRequest(dest=url, type=type, metadata=request_metadata(head))


def http_opening(
    url: str = "http://app.test/",
    *,
    method: str = "GET",
    host: str = "app.test",
    headers: Headers = (),
    body_length: int | None = 0,
    type: ConnectionType = ConnectionType.HTTP,
) -> bytes:
    """The opening of a data stream that carries an HTTP request; its body, if any, is to follow."""
    return encode_connect_request(
        http_request(url, method=method, host=host, headers=headers, body_length=body_length, type=type)
    )


def raw_opening(dest: str, *metadata: tuple[bytes, bytes], type: ConnectionType = ConnectionType.HTTP) -> bytes:
    """The opening of a data stream with any metadata, sensible or not."""
    return encode_connect_request(ConnectRequest(dest=dest, type=type, metadata=metadata))


def websocket_opening(url: str = "http://app.test/ws", *, host: str = "app.test", headers: Headers = ()) -> bytes:
    """The opening of a data stream that carries a WebSocket handshake."""
    return http_opening(url, host=host, headers=headers, type=ConnectionType.WEBSOCKET)


def tcp_opening(destination: str = "127.0.0.1:5432", *metadata: tuple[bytes, bytes]) -> bytes:
    """The opening of a data stream that carries a TCP connection."""
    return raw_opening(destination, *metadata, type=ConnectionType.TCP)


def answer(status: int = 200, headers: Headers = ()) -> bytes:
    """The connector's answer to an HTTP request; its body is to follow."""
    return encode_connect_response(ConnectResponse(metadata=response_metadata(status, headers)))


def error_answer(error: str = "origin is down") -> bytes:
    """The connector's answer to a request that failed."""
    return encode_connect_response(ConnectResponse(error=error))


# Illegal


def words(*values: int) -> bytes:
    """64-bit words, little endian."""
    return pack(f"<{len(values)}Q", *values)


def framed(*segments: bytes) -> bytes:
    """A message of these segments with its segment table."""
    sizes = [len(segments) - 1, *(len(segment) // 8 for segment in segments)]
    if len(sizes) % 2:
        sizes.append(0)
    return pack(f"<{len(sizes)}I", *sizes) + b"".join(segments)


def struct_pointer(offset: int, data_words: int, pointers: int) -> int:
    """The word of a struct pointer; `offset` counts words from its end."""
    return (offset & 0x3FFF_FFFF) << 2 | data_words << 32 | pointers << 48


def list_pointer(offset: int, size: int, count: int) -> int:
    """The word of a list pointer; `size` is the code of its elements': 2 for bytes, 6 pointers, 7 composite."""
    return (offset & 0x3FFF_FFFF) << 2 | 1 | size << 32 | count << 35


def far_pointer(segment: int, position: int, *, double: bool = False) -> int:
    """The word of a far pointer to word `position` of `segment`."""
    return 2 | double << 2 | position << 3 | segment << 32


#: Root of a ConnectRequest whose struct follows at once.
REQUEST_ROOT = struct_pointer(0, 1, 2)


def broken_messages() -> dict[str, bytes]:
    """Messages that no decoder of a ConnectRequest may accept, by what is wrong."""
    text = list_pointer(1, 2, 2)  # in the first pointer of the root: it leads behind the second
    return {
        "no root": framed(b""),
        "root out of bounds": framed(words(struct_pointer(5, 1, 2))),
        "root before its segment": framed(words(struct_pointer(-3, 1, 2))),
        "root is a list": framed(words(list_pointer(0, 2, 0), 0)),
        "root is a capability": framed(words(3)),
        "unknown connection type": framed(words(REQUEST_ROOT, 3, 0, 0)),
        "text out of bounds": framed(words(REQUEST_ROOT, 0, list_pointer(9, 2, 4), 0)),
        "text too long for its segment": framed(words(REQUEST_ROOT, 0, list_pointer(1, 2, 9), 0, 0x41)),
        "text of half a billion bytes": framed(words(REQUEST_ROOT, 0, list_pointer(1, 2, (1 << 29) - 1), 0, 0)),
        "text before its segment": framed(words(REQUEST_ROOT, 0, list_pointer(-9, 2, 2), 0, 0)),
        "text without terminator": framed(words(REQUEST_ROOT, 0, text, 0, 0x4141)),
        "text of 16-bit elements": framed(words(REQUEST_ROOT, 0, list_pointer(1, 3, 2), 0, 0)),
        "text is a struct": framed(words(REQUEST_ROOT, 0, struct_pointer(1, 1, 0), 0, 0)),
        "metadata is a text": framed(words(REQUEST_ROOT, 0, 0, list_pointer(0, 2, 1), 0)),
        "metadata out of bounds": framed(words(REQUEST_ROOT, 0, 0, list_pointer(0, 7, 8), struct_pointer(1, 0, 2))),
        "metadata with a broken tag": framed(words(REQUEST_ROOT, 0, 0, list_pointer(0, 7, 0), 1)),
        "metadata larger than its words": framed(
            words(REQUEST_ROOT, 0, 0, list_pointer(0, 7, 2), struct_pointer(2, 0, 2), 0, 0)
        ),
        "half a billion empty pairs": framed(
            words(REQUEST_ROOT, 0, 0, list_pointer(0, 7, 0), struct_pointer((1 << 29) - 1, 0, 0))
        ),
        "one text read a thousand times": framed(_aliased(1_000)),
        "far pointer to no segment": framed(words(far_pointer(7, 0))),
        "far pointer out of bounds": framed(words(far_pointer(1, 9)), words(0)),
        "far pointer to a far pointer": framed(words(far_pointer(1, 0)), words(far_pointer(1, 0))),
        "far pointer to itself": framed(words(far_pointer(0, 0))),
        "double far pointer to no pad": framed(words(far_pointer(1, 0, double=True)), words(0, 0)),
        "double far pointer with a far tag": framed(
            words(far_pointer(1, 0, double=True)), words(far_pointer(1, 0), far_pointer(1, 0))
        ),
        "double far pointer with half a pad": framed(words(far_pointer(1, 0, double=True)), words(far_pointer(1, 0))),
    }


def _aliased(count: int) -> bytes:
    """A request whose pairs all point to the same text of 800 bytes."""
    first = 5 + 2 * count
    pointers = [list_pointer(first - (5 + i) - 1, 2, 800) for i in range(2 * count)]
    head = words(REQUEST_ROOT, 0, 0, list_pointer(0, 7, 2 * count), struct_pointer(count, 0, 2))
    return head + words(*pointers) + b"a" * 799 + b"\0"


def illegal_openings() -> dict[str, bytes]:
    """First bytes of a stream that a connector must refuse as they stand, by what is wrong."""
    return {
        "unknown signature": b"GET / HTTP/1.1\r\n\r\n",
        "wrong last byte of the signature": DATA_SIGNATURE[:5] + b"\0" + VERSION + framed(words(0)),
        "half of one signature, half of the other": DATA_SIGNATURE[:3] + RPC_SIGNATURE[3:],
        "TLS hello": b"\x16\x03\x01\x02\x00\x01",
        "too many segments": PREAMBLE + pack("<I", 512),
        "four billion segments": PREAMBLE + b"\xff\xff\xff\xff",
        "too many bytes": PREAMBLE + pack("<II", 0, MAX_OPENING_BYTES // 8 + 1),
        "32 GiB in one segment": PREAMBLE + b"\0\0\0\0\xff\xff\xff\xff",
        "too many bytes in two segments": PREAMBLE + pack("<IIII", 1, 1, MAX_OPENING_BYTES // 8, 0),
    } | {name: PREAMBLE + message for name, message in broken_messages().items()}


def illegal_requests() -> dict[str, ConnectRequest]:
    """Requests that arrive in good order and must be refused for what they say."""

    def request(*pairs: tuple[bytes, bytes], url: str = "http://app.test/") -> ConnectRequest:
        return ConnectRequest(dest=url, type=ConnectionType.HTTP, metadata=pairs)

    length, coding = b"HttpHeader:Content-Length", b"HttpHeader:Transfer-Encoding"
    return {
        "CR in a value": request((b"HttpHeader:X", b"a\rb")),
        "LF in a value": request((b"HttpHeader:X", b"a\nSet-Cookie: b")),
        "CRLF in a value": request((b"HttpHeader:X", b"a\r\n\r\nGET /admin HTTP/1.1")),
        "NUL in a value": request((b"HttpHeader:X", b"a\0b")),
        "CRLF in a name": request((b"HttpHeader:X\r\nY", b"a")),
        "NUL in a name": request((b"HttpHeader:X\0", b"a")),
        "empty name": request((b"HttpHeader:", b"a")),
        "no name at all": request((b"HttpHeader", b"a")),
        "space in a name": request((b"HttpHeader:X Y", b"a")),
        "space after a name": request((b"HttpHeader:Content-Length ", b"5")),
        "colon in a name": request((b"HttpHeader:X:Y", b"a")),
        "pseudo header": request((b"HttpHeader::path", b"/")),
        "name beyond ASCII": request((b"HttpHeader:X\xc3\xbc", b"a")),
        "header key with something before it": request((b"xHttpHeader:X", b"a")),
        "space in the method": request((b"HttpMethod", b"GET /admin HTTP/1.1")),
        "LF in the method": request((b"HttpMethod", b"GET\n")),
        "method beyond ASCII": request((b"HttpMethod", b"G\xc3\x9cT")),
        "CRLF in the host": request((b"HttpHost", b"app.test\r\nX: y")),
        "space in the host": request((b"HttpHost", b"app.test evil")),
        "slash in the host": request((b"HttpHost", b"app.test/evil")),
        "CRLF in the URL": request(url="http://app.test/\r\nX: y"),
        "NUL in the URL": request(url="http://app.test/\0"),
        "tab in the URL": request(url="http://app.test/a\tHTTP/1.1"),
        "no URL": request(url="app.test"),
        "length is a word": request((length, b"many")),
        "length is negative": request((length, b"-1")),
        "length with a plus": request((length, b"+5")),
        "length is hexadecimal": request((length, b"0x10")),
        "length is empty": request((length, b"")),
        "length is a list": request((length, b"5, 5")),
        "length with other digits": request((length, "٥".encode())),
        "length beyond 64 bits": request((length, b"99999999999999999999")),
        "two lengths": request((length, b"5"), (length, b"6")),
        "two lengths in two spellings": request((length, b"5"), (b"HttpHeader:content-length", b"6")),
        "two spellings of one length": request((length, b"5"), (length, b"05")),
        "length and chunked": request((length, b"5"), (coding, b"chunked")),
        "chunked twice": request((coding, b"chunked"), (coding, b"chunked")),
        "chunked in a list": request((coding, b"gzip, chunked")),
        "not quite chunked": request((coding, b"xchunked")),
        "identity": request((coding, b"identity")),
        "empty coding": request((coding, b"")),
    }
