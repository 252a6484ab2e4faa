from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyconnector.origins.base import OriginError, OriginRequest, RequestKind
from pyconnector.origins.http1 import request_head
from pyconnector.origins.http1.request_head import encode_head


def request(
    *headers: tuple[bytes, bytes],
    method: str = "GET",
    target: str = "/",
    host: str = "app.test",
    kind: RequestKind = RequestKind.HTTP,
) -> OriginRequest:
    return OriginRequest(kind=kind, method=method, target=target, host=host, headers=list(headers))


def wire(asked: OriginRequest, body_length: int | None = 0, host_header: str = "") -> bytes:
    return encode_head(asked, body_length=body_length, host_header=host_header).wire


def test_the_order_is_host_agent_framing_then_as_received() -> None:
    asked = request(
        (b"X-Z", b"1"),
        (b"Accept", b"*/*"),
        (b"User-Agent", b"curl/8"),
        (b"X-Z", b"2"),
        (b"A", b""),
        method="POST",
        target="/a%2Fb/../c?x=%20&y=1;2",
        host="App.Test:8443",
    )
    assert wire(asked, 5) == (
        b"POST /a%2Fb/../c?x=%20&y=1;2 HTTP/1.1\r\nHost: App.Test:8443\r\nUser-Agent: curl/8\r\nContent-Length: 5\r\n"
        b"X-Z: 1\r\nAccept: */*\r\nX-Z: 2\r\nA: \r\nConnection: keep-alive\r\n\r\n"
    )


def test_no_user_agent_and_no_accept_encoding_are_made_up() -> None:
    assert wire(request()) == b"GET / HTTP/1.1\r\nHost: app.test\r\nConnection: keep-alive\r\n\r\n"
    assert b"User-Agent" not in wire(request((b"User-Agent", b"")))


@pytest.mark.parametrize(
    ("method", "length", "framing"),
    [
        ("GET", 0, b""),
        ("HEAD", 0, b""),
        ("DELETE", 0, b""),
        ("POST", 0, b"Content-Length: 0\r\n"),
        ("PUT", 0, b"Content-Length: 0\r\n"),
        ("PATCH", 0, b"Content-Length: 0\r\n"),
        ("GET", 3, b"Content-Length: 3\r\n"),
        ("POST", 1 << 40, b"Content-Length: 1099511627776\r\n"),
        ("POST", None, b"Transfer-Encoding: chunked\r\n"),
        ("PROPFIND", None, b"Transfer-Encoding: chunked\r\n"),
    ],
)
def test_the_body_decides_the_framing(method: str, length: int | None, framing: bytes) -> None:
    head = wire(request(method=method), length)
    assert head == b"%s / HTTP/1.1\r\nHost: app.test\r\n%sConnection: keep-alive\r\n\r\n" % (method.encode(), framing)


def test_fields_about_the_hop_never_pass_whatever_their_case() -> None:
    asked = request(
        (b"connection", b"close, x-secret"),
        (b"Content-Length", b"7"),
        (b"TRANSFER-encoding", b"chunked"),
        (b"Trailer", b"X-T"),
        (b"host", b"evil.test"),
        (b"Keep-Alive", b"timeout=5"),
        (b"Upgrade", b"h2c"),
        (b"Te", b"trailers"),
    )
    assert wire(asked) == (
        b"GET / HTTP/1.1\r\nHost: app.test\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\nTe: trailers\r\n"
        b"Connection: keep-alive\r\n\r\n"
    )


def test_a_websocket_asks_for_its_upgrade() -> None:
    asked = request(
        (b"Sec-Websocket-Key", b"a2V5"),
        (b"Sec-Websocket-Version", b"8"),
        (b"Upgrade", b"other"),
        (b"Connection", b"other"),
        (b"Sec-Websocket-Protocol", b"chat"),
        kind=RequestKind.WEBSOCKET,
    )
    assert wire(asked, None) == (
        b"GET / HTTP/1.1\r\nHost: app.test\r\nSec-Websocket-Key: a2V5\r\nSec-Websocket-Protocol: chat\r\n"
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-Websocket-Version: 13\r\n\r\n"
    )
    assert b"\r\nContent-Length: 0\r\n" in wire(request(method="POST", kind=RequestKind.WEBSOCKET), None)


def test_a_host_header_of_the_config_moves_the_visitors_host() -> None:
    asked = request((b"X-Forwarded-Host", b"spoofed"), (b"X-A", b"b"), host="visitor.test")
    assert wire(asked, host_header="inner.test:8080") == (
        b"GET / HTTP/1.1\r\nHost: inner.test:8080\r\nX-A: b\r\nX-Forwarded-Host: visitor.test\r\n"
        b"Connection: keep-alive\r\n\r\n"
    )
    assert b"X-Forwarded-Host: spoofed\r\n" in wire(asked)


@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("*", b"* "),
        ("", b"/ "),
        ("?a=b", b"/?a=b "),
        ("/caf\udcc3\udca9\udcff", b"/caf\xc3\xa9\xff "),
        ("/é", b"/\xc3\xa9 "),
    ],
)
def test_targets_keep_their_bytes(target: str, line: bytes) -> None:
    assert wire(request(target=target)).startswith(b"GET " + line + b"HTTP/1.1\r\n")


@pytest.mark.parametrize("byte", [b"\r", b"\n", b"\0", b"\r\n", b"\r\nX-Evil: 1", b"\n\n", b"\n\r"])
def test_line_breaks_and_nul_never_get_out(byte: bytes) -> None:
    text = byte.decode()
    for asked in (
        request((b"X-A", b"b" + byte)),
        request((b"X-A", byte + b"b")),
        request((b"User-Agent", b"b" + byte)),
        request((b"X-A" + byte, b"b")),
        request(host="app.test" + text),
        request(target="/a" + text),
        request(method="GET" + text),
    ):
        with pytest.raises(OriginError) as caught:
            wire(asked)
        assert caught.value.status == 400
        assert caught.value.reason.startswith("The request cannot be forwarded: ")
        assert caught.value.reason.isprintable()
    with pytest.raises(OriginError):
        wire(request(host="app.test" + text), host_header="inner.test")


@pytest.mark.parametrize("name", [b"", b"A b", b"A:", b"A\t", b"Transfer-Encoding ", b" Host", b"\xff", b"A(b)"])
def test_names_that_are_no_tokens_are_refused(name: bytes) -> None:
    with pytest.raises(OriginError, match="is no name for a header field"):
        wire(request((name, b"b")))


@pytest.mark.parametrize("target", ["/a b", "/a\tb", "http://x/", "a", "/\x7f", "/\x01", "**", "/\ud800"])
def test_targets_that_are_no_paths_are_refused(target: str) -> None:
    with pytest.raises(OriginError) as caught:
        wire(request(target=target))
    assert caught.value.status == 400


@pytest.mark.parametrize("method", ["", "G ET", "GET\x7f", "GÉT", "(GET)"])
def test_methods_that_are_no_tokens_are_refused(method: str) -> None:
    with pytest.raises(OriginError, match="is no method"):
        wire(request(method=method))


def test_a_nasty_name_is_shown_short_and_printable() -> None:
    with pytest.raises(OriginError) as caught:
        wire(request((b"\x1b[31m" + b"a" * 1000, b"b")))
    assert caught.value.reason.isprintable()
    assert len(caught.value.reason) < 300


def test_what_may_be_sent_again() -> None:
    for method in ("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"):
        assert encode_head(request(method=method), body_length=0).replayable
    for method in ("POST", "PATCH", "PROPFIND"):
        assert not encode_head(request(method=method), body_length=0).replayable
        keyed = request((b"Idempotency-Key", b"1"), method=method)
        assert encode_head(keyed, body_length=0).replayable


def test_an_expectation_matters_only_with_a_body() -> None:
    asked = request((b"Expect", b"100-Continue"), method="PUT")
    assert encode_head(asked, body_length=5).expects_continue
    assert not encode_head(asked, body_length=0).expects_continue
    assert b"\r\nExpect: 100-Continue\r\n" in wire(asked, 5)


def test_remembered_names_are_bounded() -> None:
    for number in range(request_head.MAX_REMEMBERED_NAMES + 10):
        wire(request((b"X-%d" % number, b"b")))
    wire(request((b"X" * 100, b"b")))
    assert len(request_head._remembered) <= request_head.MAX_REMEMBERED_NAMES
    assert b"X" * 100 not in request_head._remembered


TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@given(
    st.lists(st.tuples(st.binary(max_size=12), st.binary(max_size=12)), max_size=4),
    st.text(max_size=8),
    st.text(max_size=8),
    st.text(max_size=5),
)
def test_whatever_comes_in_one_request_of_as_many_lines_goes_out(
    headers: list[tuple[bytes, bytes]], target: str, host: str, method: str
) -> None:
    asked = request(*headers, target="/" + target, host=host, method=method)
    try:
        out = wire(asked)
    except OriginError as error:
        assert error.status == 400  # noqa: PT017 - refusing is one of two right answers
        return
    head, empty, rest = out.partition(b"\r\n\r\n")
    assert (empty, rest) == (b"\r\n\r\n", b"")
    line, *fields = head.split(b"\r\n")
    assert len(line.split(b" ")) == 3
    dropped = {b"host", b"connection", b"content-length", b"transfer-encoding", b"trailer", b"user-agent"}
    wanted = [b"%s: %s" % field for field in headers if field[0].lower() not in dropped]
    assert [field for field in fields if not field.startswith((b"Host: ", b"User-Agent: ", b"Content-Length: "))] == [
        *wanted,
        b"Connection: keep-alive",
    ]
    assert all(TOKEN.fullmatch(field.partition(b":")[0]) for field in fields)
    assert not re.search(rb"[\r\n\0]", b"".join(fields))
