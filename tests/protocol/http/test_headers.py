"""HTTP heads in stream metadata: what is read, what is written, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.http.headers import (
    STATUS_KEY,
    RequestHead,
    canonical_name,
    content_length,
    error_status,
    lookup,
    request_head,
    request_metadata,
    request_target,
    response_head,
    response_metadata,
)
from pyconnector.protocol.streams.connect import ConnectionType, ConnectRequest, ConnectResponse, Metadata
from tests.support.wire import strategies
from tests.support.wire.vectors import vectors
from tests.support.wire.wire import http_request, illegal_requests


def request(
    *metadata: tuple[bytes, bytes], url: str = "http://app.test/", type: ConnectionType = ConnectionType.HTTP
) -> ConnectRequest:
    return ConnectRequest(dest=url, type=type, metadata=metadata)


def test_a_usual_request() -> None:
    head = request_head(
        request(
            (b"HttpMethod", b"POST"),
            (b"HttpHost", b"app.test:8080"),
            (b"HttpHeader:accept", b"*/*"),
            (b"HttpHeader:X-TWICE", b"a"),
            (b"FlowID", b"f-1"),
            (b"HttpHeader:Content-Length", b"12"),
            (b"HttpHeader:x-twice", b"b"),
            (b"HttpHeader:X-Empty", b""),
            url="https://app.test/a/b%20c/../d?x=1&y=%2F",
        )
    )
    assert head == RequestHead(
        "POST",
        "app.test:8080",
        "/a/b%20c/../d?x=1&y=%2F",
        [(b"Accept", b"*/*"), (b"X-Twice", b"a"), (b"X-Twice", b"b"), (b"X-Empty", b"")],
        12,
    )


def test_a_request_that_says_nothing_is_a_get() -> None:
    assert request_head(request(url="")) == RequestHead("GET", "", "/", [], 0)


WEB_CASES = [case for case in vectors("streams")["connect_requests"] if case["type"] != "tcp"]


@pytest.mark.parametrize("case", WEB_CASES)
def test_recorded_requests_keep_their_headers(case: dict[str, Any]) -> None:
    metadata = tuple((key.encode(), value.encode()) for key, value in case["metadata"])
    headers = [
        (key.removeprefix(b"HttpHeader:"), value)
        for key, value in metadata
        if key.startswith(b"HttpHeader:") and b"Content-Length" not in key
    ]
    head = request_head(request(*metadata, url=case["dest"]))
    assert [(name.lower(), value) for name, value in head.headers] == [(name.lower(), value) for name, value in headers]
    assert head.host == dict(case["metadata"]).get("HttpHost", "")
    assert case["dest"].endswith(head.target) or not case["dest"]


@pytest.mark.parametrize(("name", "value"), illegal_requests().items())
def test_what_could_become_another_request_is_refused(name: str, value: ConnectRequest) -> None:
    with pytest.raises(ProtocolError) as caught:
        request_head(value)
    assert str(caught.value).isprintable(), name


@pytest.mark.parametrize("byte", [*range(9), *range(10, 32), 127])
def test_no_control_but_the_tab_gets_through(byte: int) -> None:
    pair = (b"HttpHeader:X", b"a" + bytes([byte]) + b"b")
    with pytest.raises(ProtocolError, match="'X' holds a control"):
        request_head(request(pair))
    with pytest.raises(ProtocolError, match="'X' holds a control"):
        response_metadata(200, [(b"X", pair[1])])
    with pytest.raises(ProtocolError, match="'X' holds a control"):
        response_head(ConnectResponse(metadata=((b"HttpStatus", b"200"), pair)))
    with pytest.raises(ProtocolError, match="'X' holds a control"):
        request_metadata(RequestHead("GET", "", "/", [(b"X", pair[1])]))


def test_a_refusal_never_quotes_a_value() -> None:
    with pytest.raises(ProtocolError) as caught:
        request_head(request((b"HttpHeader:Authorization", b"Bearer secret\r\n")))
    assert "secret" not in str(caught.value)


def test_every_other_byte_of_a_value_gets_through() -> None:
    value = bytes(byte for byte in range(256) if byte == 9 or 32 <= byte != 127)
    assert request_head(request((b"HttpHeader:X", value))).headers == [(b"X", value)]


@pytest.mark.parametrize(
    ("pairs", "length"),
    [
        ([], 0),
        ([(b"Content-Length", b"0")], 0),
        ([(b"Content-Length", b"5")], 5),
        ([(b"content-length", b"5"), (b"CONTENT-LENGTH", b"5")], 5),
        ([(b"Transfer-Encoding", b"chunked")], None),
        ([(b"transfer-encoding", b" Chunked\t")], None),
    ],
)
def test_framing_becomes_a_number(pairs: list[tuple[bytes, bytes]], length: int | None) -> None:
    head = request_head(request(*((b"HttpHeader:" + name, value) for name, value in pairs)))
    assert head.body_length == length
    assert head.headers == []


def test_a_websocket_has_no_body_before_it_is_one() -> None:
    head = request_head(request((b"HttpHeader:Transfer-Encoding", b"chunked"), type=ConnectionType.WEBSOCKET))
    assert head.body_length == 0


def test_a_tcp_stream_has_no_head() -> None:
    with pytest.raises(ProtocolError, match="TCP"):
        request_head(request(type=ConnectionType.TCP))


@pytest.mark.parametrize(
    "name", [b"Host", b"host", b"Trailer", b"Cf-Cloudflared-Proxy-Connection-Upgrade", b"content-length"]
)
def test_words_for_this_hop_do_not_travel_on(name: bytes) -> None:
    value = b"7" if name == b"content-length" else b"x"
    head = request_head(request((b"HttpHost", b"app.test"), (b"HttpHeader:" + name, value)))
    assert head.headers == []
    assert head.host == "app.test"
    # Nor where an edge repeats them by mistake.
    assert b"HttpHeader:" + name not in dict(request_metadata(RequestHead("GET", "", "/", [(name, value)])))


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://app.test", "/"),
        ("http://app.test/", "/"),
        ("http://app.test?x", "/?x"),
        ("https://user:pw@app.test:8443/a?b=c?d", "/a?b=c?d"),
        ("http://[::1]:80/a", "/a"),
        ("//app.test/a", "/a"),
        ("/a//b/./../c", "/a//b/./../c"),
        ("/http://other/", "/http://other/"),
        ("http://app.test//double", "//double"),
        ("http://app.test/a%zz|\\^", "/a%zz|\\^"),
        ("http://app.test/a b?c d", "/a%20b?c%20d"),
        ("http://app.test/a#b", "/a"),
        ("http://app.test#b", "/"),
        ("http://app.test/\u00fc", "/\u00fc"),
        ("http://app.test/\udcff", "/\udcff"),
        ("*", "*"),
        ("", "/"),
    ],
)
def test_targets_travel_as_they_are(url: str, target: str) -> None:
    assert request_target(url) == target


@pytest.mark.parametrize("url", ["app.test/a", "http:app.test", "javascript:x", "\u00fc", "http://app.test/\x7f"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ProtocolError):
        request_target(url)


@pytest.mark.parametrize("host", ["app.test", "[::1]:443", "a_b-c.test:80", "b\u00fccher.test", "x\udcff"])
def test_hosts_travel_as_they_are(host: str) -> None:
    value = host.encode("utf-8", "surrogateescape")
    assert request_head(request((b"HttpHost", value))).host == host


def test_content_length_of_a_response() -> None:
    assert content_length([]) is None
    assert content_length([b"0", b"0"]) == 0
    assert content_length([b"999999999999999999"]) == 999_999_999_999_999_999
    with pytest.raises(ProtocolError, match="differ"):
        content_length([b"1", b"2"])
    with pytest.raises(ProtocolError, match="decimal"):
        content_length([b"1 "])


def test_a_response_keeps_order_duplicates_and_hop_by_hop_headers() -> None:
    headers = [
        (b"set-cookie", b"a=1"),
        (b"Connection", b"keep-alive"),
        (b"X-Empty", b""),
        (b"Set-Cookie", b"b=2"),
        (b"cf-int-x", b"y"),
        (b"Content-Length", b"5"),
    ]
    assert response_metadata(201, headers) == (
        (b"HttpStatus", b"201"),
        (b"HttpHeader:Set-Cookie", b"a=1"),
        (b"HttpHeader:Connection", b"keep-alive"),
        (b"HttpHeader:X-Empty", b""),
        (b"HttpHeader:Set-Cookie", b"b=2"),
        (b"HttpHeader:Cf-Int-X", b"y"),
        (b"HttpHeader:Content-Length", b"5"),
    )


def test_a_response_says_nothing_of_chunks_and_trailers() -> None:
    headers = [(b"transfer-encoding", b"chunked"), (b"Trailer", b"X"), (b"A", b"b")]
    assert response_metadata(200, headers) == ((b"HttpStatus", b"200"), (b"HttpHeader:A", b"b"))


@pytest.mark.parametrize("status", [0, 99, 1000, -200])
def test_a_status_has_three_digits(status: int) -> None:
    with pytest.raises(ProtocolError, match="three digits"):
        response_metadata(status, [])


@pytest.mark.parametrize("name", [b"", b"a b", b"a:b", b"\xfc", b"a\n"])
def test_a_response_name_is_a_token(name: bytes) -> None:
    with pytest.raises(ProtocolError):
        response_metadata(200, [(name, b"x")])


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        ((b"HttpStatus", b""),),
        ((b"HttpStatus", b"20"),),
        ((b"HttpStatus", b"2000"),),
        ((b"HttpStatus", b"099"),),
        ((b"HttpStatus", b"+20"),),
        ((b"HttpStatus", "٢٠٠".encode()),),
        ((b"HttpStatus", b"200"), (b"HttpHeader:a:b", b"")),
    ],
)
def test_a_broken_answer_is_refused(metadata: Metadata) -> None:
    with pytest.raises(ProtocolError):
        response_head(ConnectResponse(metadata=metadata))


def test_an_error_is_no_answer() -> None:
    with pytest.raises(ProtocolError, match="error"):
        response_head(ConnectResponse(error="down", metadata=((b"HttpStatus", b"200"),)))


def test_the_last_status_counts() -> None:
    assert response_head(ConnectResponse(metadata=((b"HttpStatus", b"200"), (b"HttpStatus", b"404")))) == (404, [])


def canonical(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(canonical_name(name), value) for name, value in headers]


@settings(max_examples=100, deadline=None)
@given(strategies.header_lists, st.integers(100, 999))
def test_answers_round_trip(headers: list[tuple[bytes, bytes]], status: int) -> None:
    kept = [pair for pair in canonical(headers) if pair[0] not in {b"Transfer-Encoding", b"Trailer"}]
    assert response_head(ConnectResponse(metadata=response_metadata(status, headers))) == (status, kept)


@settings(max_examples=100, deadline=None)
@given(strategies.header_lists, strategies.tokens, st.one_of(st.none(), st.integers(0, 10**17)))
def test_requests_round_trip(headers: list[tuple[bytes, bytes]], method: bytes, length: int | None) -> None:
    value = http_request("http://app.test/x", method=method.decode(), headers=headers, body_length=length)
    hop = {b"Content-Length", b"Transfer-Encoding", b"Host", b"Trailer", b"Cf-Cloudflared-Proxy-Connection-Upgrade"}
    kept = [pair for pair in canonical(headers) if pair[0] not in hop]
    assert request_head(value) == RequestHead(method.decode(), "app.test", "/x", kept, length)


@settings(max_examples=300, deadline=None)
@given(strategies.connect_requests)
def test_anything_else_is_refused_with_a_protocol_error(value: ConnectRequest) -> None:
    try:
        head = request_head(value)
    except ProtocolError:
        return
    for name, content in head.headers:
        assert name
        assert not any(byte in content for byte in b"\r\n\0")
    assert not any(byte in head.target + head.host + head.method for byte in "\r\n\0 ")


def test_lookup_takes_the_last() -> None:
    metadata = ((b"FlowID", b"a"), (b"x", b"y"), (b"FlowID", b"b"))
    assert lookup(metadata, b"FlowID") == b"b"
    assert lookup(metadata, b"flowid") == b""


@pytest.mark.parametrize(
    ("metadata", "status"),
    [
        ((), 502),
        (((STATUS_KEY, b"403"),), 403),
        (((STATUS_KEY, b"599"),), 599),
        (((STATUS_KEY, b"200"),), 502),
        (((STATUS_KEY, b"101"),), 502),
        (((STATUS_KEY, b"600"),), 502),
        (((STATUS_KEY, b"4e2"),), 502),
        (((STATUS_KEY, b"0403"),), 502),
        (((STATUS_KEY, b""),), 502),
    ],
)
def test_an_error_has_a_status_that_is_an_error(metadata: Metadata, status: int) -> None:
    assert error_status(ConnectResponse(error="no", metadata=metadata)) == status
