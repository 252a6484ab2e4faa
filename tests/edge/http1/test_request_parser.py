"""Requests are read strictly, whatever pieces they arrive in."""

from __future__ import annotations

import pytest

from pyconnector.edge.visitors.http1.request_body import (
    MAX_CHUNK_LINE_BYTES,
    MAX_TRAILER_BYTES,
    ChunkedBody,
    LengthBody,
    request_body,
)
from pyconnector.edge.visitors.http1.request_parser import (
    MAX_FIELDS,
    MAX_HEAD_BYTES,
    BadRequest,
    RequestReader,
    VisitorRequest,
)


def read(data: bytes) -> VisitorRequest | None:
    reader = RequestReader()
    reader.feed(data)
    return reader.next_request()


def request(
    lines: bytes = b"", first: bytes = b"GET /x HTTP/1.1", host: bytes = b"Host: app.test\r\n"
) -> VisitorRequest:
    found = read(first + b"\r\n" + host + lines + b"\r\n")
    assert found is not None
    return found


def test_a_request_keeps_order_case_and_duplicates_of_its_fields() -> None:
    found = request(b"X-b: 2\r\nx-A: 1\r\nX-b:  3 \t\r\nEmpty:\r\n", first=b"GET /a/b%20c/../d?x=1&y=%2F HTTP/1.1")
    assert found.headers == [(b"X-b", b"2"), (b"x-A", b"1"), (b"X-b", b"3"), (b"Empty", b"")]
    assert (found.method, found.target, found.host) == ("GET", b"/a/b%20c/../d?x=1&y=%2F", b"app.test")
    assert (found.body_length, found.keep_alive, found.websocket) == (0, True, False)


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_pieces_of_any_size_give_the_same_requests(step: int) -> None:
    data = b"\r\nGET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: b\r\nX: y\r\n\r\n"
    reader = RequestReader()
    found = []
    for start in range(0, len(data), step):
        reader.feed(data[start : start + step])
        while (one := reader.next_request()) is not None:
            found.append((one.target, one.host, one.headers))
    assert found == [(b"/1", b"a", []), (b"/2", b"b", [(b"X", b"y")])]
    assert not reader.has_begun


def test_what_concerns_this_hop_alone_or_only_the_edge_may_say_is_removed() -> None:
    found = request(
        b"Connection: keep-alive, X-Private\r\nX-Private: 1\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nTE: trailers\r\n"
        b"Trailer: a\r\nUpgrade: h2c\r\nCf-Connecting-Ip: 6.6.6.6\r\nCF-RAY: x\r\ncf-trace-id: y\r\n"
        b"Cf-Cloudflared-Proxy-Src: z\r\nCf-Int-Foo: 1\r\nCf-Proxy-X: 2\r\nCf-Access-Jwt-Assertion: kept\r\n"
    )
    assert found.headers == [(b"Cf-Access-Jwt-Assertion", b"kept")]


@pytest.mark.parametrize(
    "name",
    [
        b"Cf_Connecting_Ip",
        b"CF_RAY",
        b"Cf-Connecting_Ip",
        b"cf_int_foo",
        b"Cf_Cloudflared-Proxy-Src",
        b"X_Forwarded_For",
        b"X-Forwarded_Proto",
        b"Content_Length",
        b"transfer_encoding",
    ],
)
def test_fields_of_the_edge_are_removed_in_every_spelling(name: bytes) -> None:
    found = request(b"My_Own: kept\r\n" + name + b": 6.6.6.6\r\nCf_Access_Jwt_Assertion: kept\r\n")
    kept = [(b"My_Own", b"kept"), (b"Cf_Access_Jwt_Assertion", b"kept")]
    assert found.headers == kept


def test_a_connection_field_cannot_take_the_framing_away() -> None:
    found = request(b"Connection: Content-Length, Host\r\nContent-Length: 3\r\n", first=b"POST / HTTP/1.1")
    assert found.body_length == 3
    assert found.host == b"app.test"


@pytest.mark.parametrize(
    ("lines", "first", "keep"),
    [
        (b"", b"GET / HTTP/1.1", True),
        (b"Connection: Close\r\n", b"GET / HTTP/1.1", False),
        (b"", b"GET / HTTP/1.0", False),
        (b"Connection: Keep-Alive\r\n", b"GET / HTTP/1.0", True),
    ],
)
def test_whether_a_connection_is_kept(lines: bytes, first: bytes, keep: bool) -> None:
    assert request(lines, first=first).keep_alive is keep


@pytest.mark.parametrize(
    ("lines", "first", "websocket"),
    [
        (b"Connection: Upgrade\r\nUpgrade: websocket\r\n", b"GET / HTTP/1.1", True),
        (b"Connection: keep-alive, upgrade\r\nUpgrade: WebSocket\r\n", b"GET / HTTP/1.1", True),
        (b"Connection: Upgrade\r\nUpgrade: h2c\r\n", b"GET / HTTP/1.1", False),
        (b"Upgrade: websocket\r\n", b"GET / HTTP/1.1", False),
        (b"Connection: Upgrade\r\nUpgrade: websocket\r\n", b"POST / HTTP/1.1", False),
        (b"Connection: Upgrade\r\nUpgrade: websocket\r\n", b"GET / HTTP/1.0", False),
        (b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n", b"GET / HTTP/1.1", False),
    ],
)
def test_what_asks_for_a_websocket(lines: bytes, first: bytes, websocket: bool) -> None:
    found = request(lines, first=first)
    assert found.websocket is websocket
    assert found.headers == []


def test_after_an_upgrade_or_a_body_the_next_request_is_read_as_well() -> None:
    reader = RequestReader()
    reader.feed(b"GET /1 HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n")
    reader.feed(b"POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /3 HTTP/1.1\r\nHost: a\r\n\r\n")
    first, second = reader.next_request(), reader.next_request()
    assert first is not None
    assert second is not None
    assert (first.target, second.target, second.body_length) == (b"/1", b"/2", 3)
    body = LengthBody(3)
    assert body.take(reader.leftover) == b"abc"
    third = reader.next_request()
    assert third is not None
    assert third.target == b"/3"


@pytest.mark.parametrize(
    ("url", "host", "target"),
    [
        (b"http://other.test/a?b", b"other.test", b"/a?b"),
        (b"HTTPS://other.test:8443", b"other.test:8443", b"/"),
        (b"http://other.test?q", b"other.test", b"/?q"),
    ],
)
def test_an_absolute_target_wins_over_host(url: bytes, host: bytes, target: bytes) -> None:
    found = request(first=b"GET " + url + b" HTTP/1.1")
    assert (found.host, found.target) == (host, target)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX\0: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: user@a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
        (b"GET http://user@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: cake\r\n\r\n", 417),
        (b"NONSENSE / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"GET /\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\n", 505),
        (b"\x16\x03\x01\x02\x00", 400),
        (b"GET / HTTP/1.1\nHost", 400),
    ],
)
def test_what_two_readers_could_understand_differently_is_refused(data: bytes, status: int) -> None:
    with pytest.raises(BadRequest) as caught:
        read(data)
    assert caught.value.status == status
    assert caught.value.reason.endswith(".")


@pytest.mark.parametrize("ends", [True, False])
def test_a_head_is_bounded(ends: bool) -> None:
    long = b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * MAX_HEAD_BYTES + (b"\r\n\r\n" if ends else b"")
    with pytest.raises(BadRequest) as caught:
        read(long)
    assert caught.value.status == 431


def test_the_number_of_fields_is_bounded() -> None:
    assert request(b"a: b\r\n" * (MAX_FIELDS - 1)).headers
    with pytest.raises(BadRequest) as caught:
        request(b"a: b\r\n" * MAX_FIELDS)
    assert caught.value.status == 431


@pytest.mark.parametrize("step", [1, 2, 5, 1000])
def test_chunks_in_pieces_of_any_size(step: int) -> None:
    data = b'5\r\nhello\r\n6;ext="x"\r\n world\r\n0\r\nTrailer: dropped\r\n\r\nGET /next'
    body = ChunkedBody()
    got = b""
    waiting = bytearray()
    for start in range(0, len(data), step):
        waiting += data[start : start + step]
        if not body.finished:
            got += body.take(waiting)
    assert (got, bytes(waiting), body.finished) == (b"hello world", b"GET /next", True)


@pytest.mark.parametrize(
    "data",
    [
        b"5\nhello\r\n",
        b"5\r\nhelloX\r\n",
        b"5\r\nhello\n",
        b"g\r\n",
        b"-1\r\n",
        b" 5\r\nhello\r\n",
        b"5 \r\nhello\r\n",
        b"0x5\r\nhello\r\n",
        b"\r\n",
        b"10000000000000000\r\n",
        b"5;\0\r\n",
        b"5;a\rb\r\n",
        b"0\r\na: b\n\r\n",
        b"1" * (MAX_CHUNK_LINE_BYTES + 1),
        b"0\r\n" + b"a: b\r\n" * MAX_TRAILER_BYTES,
        b"0\r\na: " + b"b" * MAX_TRAILER_BYTES,
    ],
)
def test_malformed_chunks_are_refused(data: bytes) -> None:
    def read() -> None:
        body, waiting = ChunkedBody(), bytearray(data)
        body.take(waiting)
        while body.is_behind:
            body.take(waiting)

    with pytest.raises(BadRequest):
        read()


def test_a_body_of_known_length_leaves_what_follows() -> None:
    body = request_body(4)
    waiting = bytearray(b"ab")
    assert (body.take(waiting), body.finished) == (b"ab", False)
    waiting += b"cdEF"
    assert (body.take(waiting), body.finished, bytes(waiting)) == (b"cd", True, b"EF")
