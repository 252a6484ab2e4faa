"""What `access` commands are told: URLs, addresses to dial, credentials, and answers of an edge."""

from __future__ import annotations

import pytest

from pyconnector.agent.access.credentials import Credentials, parse_fields
from pyconnector.agent.access.handshake import (
    HandshakeError,
    check_accepted,
    encode_upgrade,
    read_head,
    refused_token,
    sentence_of,
)
from pyconnector.agent.access.place import connect_to, parse_place
from pyconnector.web.websocket.frames import BINARY, FrameDecoder, Piece, masked_frame
from pyconnector.web.websocket.handshake import accept_value


@pytest.mark.parametrize(
    ("text", "url", "address", "target"),
    [
        ("db.example.com", "https://db.example.com", ("db.example.com", 443), "/"),
        ("http://DB.example.com./", "https://db.example.com", ("db.example.com", 443), "/"),
        ("https://a.example:8443/x?y=1", "https://a.example:8443", ("a.example", 8443), "/x?y=1"),
        ("bücher.example", "https://xn--bcher-kva.example", ("xn--bcher-kva.example", 443), "/"),
        ("fd00::1", "https://[fd00::1]", ("fd00::1", 443), "/"),
        ("http://app.localhost:8080", "http://app.localhost:8080", ("localhost", 8080), "/"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080", ("127.0.0.1", 8080), "/"),
        ("http://10.0.0.1:8080", "https://10.0.0.1:8080", ("10.0.0.1", 8080), "/"),
    ],
)
def test_urls_are_https_but_on_this_machine(text: str, url: str, address: tuple[str, int], target: str) -> None:
    place = parse_place(text)
    assert (place.url, place.address, place.target) == (url, address, target)


@pytest.mark.parametrize(
    "text", ["", "ftp://a.example", "https://", "https://a b", "https://u:p@a.example", "https://a:0", "a/b c", "a%b"]
)
def test_what_is_no_url_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"URL|application"):
        parse_place(text)


def test_what_is_dialled_may_be_elsewhere() -> None:
    place = parse_place("db.example.com")
    assert connect_to(place, "edge").address == ("edge", 443)
    assert connect_to(place, "edge:8443").address == ("edge", 8443)
    other = connect_to(place, "x:8443:edge")
    assert (other.address, other.verify, connect_to(place, "edge:1").verify) == (("edge", 8443), False, True)
    for wrong in ("", "a:b", "a:1:b:c", ":1", "a:70000"):
        with pytest.raises(ValueError, match="--connect-to"):
            connect_to(place, wrong)


def test_own_headers_count_instead_of_the_others() -> None:
    fields = parse_fields(["cf-access-client-id: other", "X-A:b"])
    shown = Credentials(client_id="i", secret="s", destination="db:1", more=fields).fields()
    assert shown == (
        ("Cf-Access-Client-Secret", "s"), ("Cf-Access-Jump-Destination", "db:1"),
        ("cf-access-client-id", "other"), ("X-A", "b"),
    )  # fmt: skip


@pytest.mark.parametrize("text", ["none", "a b: c", "X: a\r\nY: b", "Host: x", "Sec-WebSocket-Key: x", ": x", "X: é"])
def test_headers_cannot_bend_the_handshake(text: str) -> None:
    with pytest.raises(ValueError, match="--header"):
        parse_fields([text])


def test_half_a_service_token_is_none_and_secrets_are_not_shown() -> None:
    with pytest.raises(ValueError, match="one of them is missing"):
        Credentials(client_id="id")
    with pytest.raises(ValueError, match="plain ASCII"):
        Credentials(client_id="id", secret="a\r\nX: y")
    shown = repr(Credentials(client_id="id", secret="hidden", app_token="hidden", more=(("A", "hidden"),)))
    assert "hidden" not in shown


def test_an_answer_must_be_to_this_handshake() -> None:
    key = b"dGhlIHNhbXBsZSBub25jZQ=="
    request = encode_upgrade(parse_place("https://a.example:8443/x"), key, [("A", "b")])
    assert request.startswith(b"GET /x HTTP/1.1\r\nHost: a.example:8443\r\nConnection: Upgrade\r\n")
    assert request.endswith(b"\r\nA: b\r\n\r\n")
    good = b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: " + accept_value(key) + b"\r\n\r\n"
    check_accepted(read_head(good), key)
    with pytest.raises(HandshakeError):
        check_accepted(read_head(good), b"other")
    with pytest.raises(HandshakeError):
        check_accepted(read_head(good.replace(b"websocket", b"h2c")), key)
    for wrong in (b"SSH-2.0-x\r\n\r\n", b"HTTP/2 200\r\n\r\n", b"\r\n\r\n"):
        with pytest.raises(HandshakeError):
            read_head(wrong)


def test_refusals_say_what_the_edge_says() -> None:
    head = read_head(b"HTTP/1.1 403 F\r\nContent-Type: application/json\r\n\r\n")
    body = b'{"error":"access_denied","reason":"revoked","message":"The token has been revoked."}'
    assert sentence_of(head, body) == "The token has been revoked"
    assert refused_token(body)
    for strange in (b"", b"[]", b'{"message":1}', b"\xff"):
        assert sentence_of(head, strange) == "nobody may pass with what was shown"
        assert not refused_token(strange)
    login = read_head(b"HTTP/1.1 302 F\r\nLocation: https://t.example/cdn-cgi/access/login/a?x\r\n\r\n")
    assert login.wants_login
    assert not read_head(b"HTTP/1.1 302 F\r\nLocation: /other?/cdn-cgi/access/login\r\n\r\n").wants_login


def test_frames_of_a_client_are_masked() -> None:
    for size in (0, 1, 125, 126, 70_000):
        payload = bytes(range(256)) * (size // 256 + 1)
        wire = masked_frame(BINARY, payload[:size], b"\x01\x02\x03\x04")
        assert FrameDecoder(masked=True).feed(wire) == [Piece(BINARY, payload[:size], True, True)]
