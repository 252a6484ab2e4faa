"""The two handshakes of the gateway: in any pieces, and everything that is not meant."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyconnector.protocol.proxying.handshake import (
    AccessToken,
    Associate,
    Connect,
    Credentials,
    Event,
    Handshake,
    HandshakeError,
    Verdict,
)
from pyconnector.protocol.proxying.http_connect import MAX_HEAD, HttpConnect
from pyconnector.protocol.proxying.proxy_request import BadProxyRequest, read_http2
from pyconnector.protocol.proxying.socks5 import Socks5, decode_udp, encode_address, encode_udp

USER, SECRET = "abc.access+lab", "s3cret"
GREETING = b"\x05\x02\x00\x02"
PASSWORD = b"\x01" + bytes([len(USER)]) + USER.encode() + bytes([len(SECRET)]) + SECRET.encode()
BASIC = base64.b64encode(f"{USER}:{SECRET}".encode()).decode()


def request(host: bytes, port: int, *, command: int = 1) -> bytes:
    return b"\x05" + bytes([command]) + b"\x00\x03" + bytes([len(host)]) + host + port.to_bytes(2, "big")


def connect(*lines: str, target: str = "db.internal:5432", method: str = "CONNECT", version: str = "HTTP/1.1") -> bytes:
    return "\r\n".join([f"{method} {target} {version}", *lines, "", ""]).encode("latin-1")


UPGRADE = ("Connection: keep-alive, Upgrade", "Upgrade: connect-udp", "Capsule-Protocol: ?1")


def udp(*lines: str, target: str = "/.well-known/masque/udp/10.0.0.5/53/", method: str = "GET", **more: str) -> bytes:
    return connect("Host: edge", *lines, target=target, method=method, **more)


def played(handshake: Handshake, pieces: list[bytes]) -> tuple[list[Event], bytes]:
    """Feed pieces; accept the credentials. Returns events and what was sent."""
    events: list[Event] = []
    sent = b""
    for piece in pieces:
        event = handshake.feed(piece)
        sent += handshake.bytes_to_send()
        while event is not None:
            events.append(event)
            if not isinstance(event, Credentials | AccessToken):
                return events, sent
            sent += handshake.authenticated()
            event = handshake.feed(b"")
    return events, sent


@pytest.mark.parametrize(
    ("make", "data"),
    [
        (Socks5, GREETING + PASSWORD + request(b"db.internal", 5432) + b"early"),
        (HttpConnect, connect(f"Proxy-Authorization: Basic {BASIC}", "Host: x") + b"early"),
    ],
)
def test_a_handshake_is_understood_in_any_pieces(make: Callable[[], Handshake], data: bytes) -> None:
    for pieces in ([data], [data[at : at + 1] for at in range(len(data))]):
        handshake = make()
        events, sent = played(handshake, pieces)
        assert events == [Credentials(USER, SECRET), Connect("db.internal", 5432)]
        if len(pieces) == 1:
            assert handshake.leftover == b"early"
        assert sent == (b"\x05\x02\x01\x00" if make is Socks5 else b"")


def test_the_virtual_network_stands_behind_the_user_name() -> None:
    credentials = Credentials(USER, SECRET)
    assert (credentials.client_id, credentials.virtual_network) == ("abc.access", "lab")
    assert SECRET not in repr(credentials)


def test_socks_addresses_of_every_kind_are_read_and_written() -> None:
    for host in ("10.0.0.5", "fd00::5"):
        events, _ = played(Socks5(), [GREETING + PASSWORD + b"\x05\x01\x00" + encode_address(host, 80)])
        assert events[1] == Connect(host, 80)
        assert decode_udp(encode_udp(host, 53, b"payload")) == (host, 53, b"payload")
    events, _ = played(Socks5(), [GREETING + PASSWORD + request(b"x", 0, command=3)])
    assert events[1] == Associate()


def test_fragments_of_udp_are_dropped() -> None:
    assert decode_udp(b"\x00\x00\x01" + encode_address("10.0.0.1", 53) + b"part") is None


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (b"\x04\x01", b""),
        (b"GET / HTTP/1.1", b""),
        (b"\x05\x01\x00", b"\x05\xff"),
        (GREETING + b"\x02", b""),
        (GREETING + PASSWORD + b"\x04\x01\x00\x01", b""),
        (GREETING + PASSWORD + b"\x05\x02\x00" + encode_address("10.0.0.1", 1), b"\x05\x07\x00\x01" + bytes(6)),
        (GREETING + PASSWORD + b"\x05\x01\x00\x09", b"\x05\x08\x00\x01" + bytes(6)),
        (GREETING + PASSWORD + request(b"", 1), b""),
        (GREETING + PASSWORD + request(b"\xff", 1), b""),
    ],
)
def test_what_is_no_socks5_is_turned_away(data: bytes, answer: bytes) -> None:
    with pytest.raises(HandshakeError) as caught:
        played(Socks5(), [data])
    assert caught.value.answer == answer


@pytest.mark.parametrize(
    "data", [b"", b"\x00\x00\x00", b"\x00\x01\x00\x01" + bytes(6), b"\x00\x00\x00\x01abc", b"\x00\x00\x00\x09"]
)
def test_what_is_no_datagram_of_an_association_is_refused(data: bytes) -> None:
    with pytest.raises(HandshakeError):
        decode_udp(data)


@pytest.mark.parametrize(
    "data",
    [
        connect(method="GET"),
        connect(version="HTTP/2.0"),
        b"CONNECT  a:1 HTTP/1.1\r\n\r\n",
        connect(target="db.internal"),
        connect(target="db.internal:0"),
        connect(target="db.internal:65536"),
        connect(target="user@db.internal:1"),
        connect(target="http://db.internal:1"),
        connect("Proxy-Authorization: Basic eA==", "Proxy-Authorization: Basic eA=="),
        connect("Proxy-Authorization: Basic eA==", "CF-Access-Client-Id: x"),
        connect("Host: a", "Host: b"),
        connect("Proxy-Authorization: Bearer x", "CF-Access-Token: x"),
        connect("CF-Access-Token: x", "CF-Access-Token: x"),
        connect("CF-Access-Token: x", "CF-Access-Client-Id: x"),
        udp("Connection: Upgrade"),
        udp("Upgrade: connect-udp"),
        udp("Upgrade: websocket", "Connection: Upgrade"),
        udp(*UPGRADE, version="HTTP/1.0"),
        udp(*UPGRADE, method="POST"),
        udp(*UPGRADE, target="/.well-known/masque/udp/a/0/"),
        udp(*UPGRADE, target="/.well-known/masque/udp/a/65536/"),
        udp(*UPGRADE, target="/.well-known/masque/udp/a/53"),
        udp(*UPGRADE, target="/.well-known/masque/udp/a%2Fb/53/"),
        udp(*UPGRADE, target="/.well-known/masque/udp/%00/53/"),
        udp(*UPGRADE, target="/.well-known/masque/udp/fe80%3A%3A1%25eth0/53/"),
        udp(*UPGRADE, target="/.well-known/masque/udp/%FF/53/"),
        connect("Transfer-Encoding: chunked"),
        connect("Content-Length: 5"),
        connect(" folded: x"),
        connect("Bad Field: x"),
        connect("X: a\nInjected: b"),
        connect("X: a\x00b"),
        connect(*[f"X-{n}: 1" for n in range(101)]),
        connect(f"Proxy-Authorization: Basic {BASIC}", "Cf-Virtual-Network: other"),
        b"x" * (MAX_HEAD + 1),
        b"CONNECT a:1 HTTP/1.1\r\nX: " + b"y" * MAX_HEAD + b"\r\n\r\n",
    ],
)
def test_what_is_no_connect_is_answered_with_an_error(data: bytes) -> None:
    with pytest.raises(HandshakeError) as caught:
        played(HttpConnect(), [data])
    assert caught.value.answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 405 "))
    assert b"Connection: close" in caught.value.answer


def test_credentials_may_stand_in_headers_of_access() -> None:
    head = connect("CF-Access-Client-Id: abc.access", "cf-access-client-secret:  s3cret ", "Cf-Virtual-Network: lab")
    events, _ = played(HttpConnect(), [head])
    assert events == [Credentials("abc.access", "s3cret"), Connect("db.internal", 5432, "lab")]


@pytest.mark.parametrize("value", ["", "Digest x", "Basic", "Basic !!!", "Basic eA=="])
def test_credentials_that_are_none_are_nobody_s(value: str) -> None:
    events, _ = played(HttpConnect(), [connect(f"Proxy-Authorization: {value}")])
    assert isinstance(events[0], Credentials)
    assert events[0].secret == ""


@pytest.mark.parametrize("line", ["Proxy-Authorization: bearer  a.b.c ", "Cf-Access-Token: a.b.c"])
def test_an_access_token_is_a_credential_too(line: str) -> None:
    events, _ = played(HttpConnect(), [connect(line, "Cf-Virtual-Network: lab")])
    assert events == [AccessToken(b"a.b.c"), Connect("db.internal", 5432, "lab")]
    assert "a.b.c" not in repr(events)


@pytest.mark.parametrize(
    ("host", "meant"), [("10.0.0.5", "10.0.0.5"), ("fd00%3A%3A5", "fd00::5"), ("dns%2einternal", "dns.internal")]
)
def test_udp_is_asked_for_by_an_upgrade(host: str, meant: str) -> None:
    handshake = HttpConnect()
    events, _ = played(handshake, [udp(*UPGRADE, target=f"/.well-known/masque/udp/{host}/53/") + b"capsules"])
    assert events[1] == Connect(meant, 53, protocol="udp")
    assert handshake.leftover == b"capsules"
    granted = handshake.answer(Verdict.GRANTED)
    assert granted.startswith(b"HTTP/1.1 101 ")
    assert b"\r\nUpgrade: connect-udp\r\nCapsule-Protocol: ?1\r\n" in granted


def test_refusals_say_why() -> None:
    http = HttpConnect()
    unknown = http.refused(Verdict.UNAUTHENTICATED)
    assert unknown.startswith(b"HTTP/1.1 407 Proxy Authentication Required\r\n")
    assert b'\r\nProxy-Authenticate: Basic realm="private network"' in unknown
    assert b"\r\nRetry-After: 60\r\n" in http.refused(Verdict.TOO_MANY)
    refused = http.answer(Verdict.FORBIDDEN, "No network rule allows this.")
    assert refused.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert b"\r\nProxy-Status: pyconnector; error=http_request_denied\r\n" in refused
    assert refused.endswith(b"\r\n\r\nNo network rule allows this.\n")
    assert Socks5().refused(Verdict.UNAUTHENTICATED) == b"\x01\x01"
    codes = {verdict: Socks5().answer(verdict)[1] for verdict in Verdict}
    assert codes[Verdict.FORBIDDEN] == 2
    assert codes[Verdict.UNROUTABLE] == 3
    assert codes[Verdict.GRANTED] == 0


@given(st.lists(st.binary(max_size=40), max_size=20), st.sampled_from([b"", GREETING, GREETING + PASSWORD]))
@settings(max_examples=300)
def test_noise_brings_nothing_but_errors(pieces: list[bytes], before: bytes) -> None:
    for handshake in (Socks5(), HttpConnect()):
        try:
            played(handshake, [before, *pieces])
        except HandshakeError:
            pass
    for piece in pieces:
        try:
            decode_udp(b"\x00\x00\x00" + piece)
        except HandshakeError:
            pass


CONNECT = [(b":method", b"CONNECT"), (b":authority", b"db.internal:5432")]
CONNECT_UDP = [
    (b":method", b"CONNECT"), (b":protocol", b"connect-udp"), (b":scheme", b"https"), (b":authority", b"edge"),
    (b":path", b"/.well-known/masque/udp/10.0.0.5/53/"), (b"cf-access-token", b"a.b.c"),
]  # fmt: skip


def test_http2_asks_for_the_same() -> None:
    basic = (b"proxy-authorization", b"Basic " + BASIC.encode())
    assert read_http2([*CONNECT, basic]) == (Credentials(USER, SECRET), Connect("db.internal", 5432))
    assert read_http2(CONNECT_UDP) == (AccessToken(b"a.b.c"), Connect("10.0.0.5", 53, protocol="udp"))


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"a:1"), (b":path", b"/")],
        CONNECT[:1],
        [*CONNECT, (b":scheme", b"https")],
        [*CONNECT, (b":path", b"/")],
        [*CONNECT, CONNECT[0]],
        [*CONNECT, (b":status", b"200")],
        [*CONNECT, (b"x", b"y"), (b":protocol", b"connect-udp")],
        [*CONNECT, (b"connection", b"x")],
        [*CONNECT, (b"transfer-encoding", b"chunked")],
        [*CONNECT, (b"content-length", b"1")],
        [*CONNECT, (b"Upper", b"x")],
        [*CONNECT, (b"a b", b"x")],
        [*CONNECT, (b"", b"x")],
        [*CONNECT, (b"x", b"a\r\nb: c")],
        [*CONNECT, (b"x", b" a")],
        [*CONNECT, (b"cf-access-token", b"x"), (b"cf-access-token", b"y")],
        [field for field in CONNECT_UDP if field[0] != b":path"],
        [field for field in CONNECT_UDP if field[0] != b":scheme"],
        [(name, b"websocket" if name == b":protocol" else value) for name, value in CONNECT_UDP],
    ],
)
def test_what_is_no_connect_of_http2_is_refused(fields: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(BadProxyRequest):
        read_http2(fields)


@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([name for name, _ in CONNECT_UDP]) | st.binary(max_size=12),
            st.sampled_from([value for _, value in CONNECT_UDP]) | st.binary(max_size=30),
        ),
        max_size=8,
    )
)
def test_any_fields_of_http2_are_read_or_refused(fields: list[tuple[bytes, bytes]]) -> None:
    with contextlib.suppress(BadProxyRequest):
        shown, wanted = read_http2(fields)
        assert isinstance(shown, Credentials | AccessToken)
        assert isinstance(wanted, Connect)
        assert 0 < wanted.port < 65_536
