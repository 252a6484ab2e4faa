"""What a visitor gets to see of a connector's response."""

from __future__ import annotations

import pytest

from pyconnector.edge.visitors.http1.request_parser import VisitorRequest
from pyconnector.edge.visitors.http1.response_head import BadResponse, Framing, final_head, switching_head
from pyconnector.edge.visitors.identity import RayNumbers, VisitorIdentity
from pyconnector.edge.visitors.pages import error_response


def request(method: str = "GET", version: str = "1.1") -> VisitorRequest:
    return VisitorRequest(
        method=method,
        target=b"/",
        host=b"a",
        headers=[],
        body_length=0,
        websocket=False,
        keep_alive=True,
        expects_continue=False,
        version=version,
    )


def test_a_length_is_passed_on_and_hop_by_hop_fields_are_not() -> None:
    head = final_head(
        200,
        [
            (b"Set-Cookie", b"a"),
            (b"Connection", b"X-Private, close"),
            (b"X-Private", b"1"),
            (b"Keep-Alive", b"x"),
            (b"Transfer-Encoding", b"chunked"),
            (b"Cf-Int-Cloudflared-Tracing", b"spans"),
            (b"Cf-Cache-Status", b"HIT"),
            (b"Set-Cookie", b"b"),
            (b"Content-Length", b"3"),
        ],
        request(),
        keep_alive=True,
    )
    assert head.data == (
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nCf-Cache-Status: HIT\r\nSet-Cookie: b\r\nContent-Length: 3\r\n\r\n"
    )
    assert (head.framing, head.length, head.keep_alive) == (Framing.LENGTH, 3, True)


@pytest.mark.parametrize(
    ("status", "method", "version", "framing", "fields"),
    [
        (200, "GET", "1.1", Framing.CHUNKED, b"Transfer-Encoding: chunked\r\n"),
        (200, "GET", "1.0", Framing.UNTIL_CLOSE, b"Connection: close\r\n"),
        (200, "HEAD", "1.1", Framing.NONE, b""),
        (204, "GET", "1.1", Framing.NONE, b""),
        (304, "GET", "1.1", Framing.NONE, b""),
    ],
)
def test_framing_without_a_length(status: int, method: str, version: str, framing: Framing, fields: bytes) -> None:
    head = final_head(status, [], request(method, version), keep_alive=True)
    assert head.framing is framing
    assert head.data.partition(b"\r\n")[2] == fields + b"\r\n"


def test_the_length_of_a_head_response_is_kept_and_that_of_204_is_not() -> None:
    assert b"Content-Length: 9" in final_head(200, [(b"Content-Length", b"9")], request("HEAD"), keep_alive=True).data
    assert b"Content-Length" not in final_head(204, [(b"Content-Length", b"0")], request(), keep_alive=True).data


@pytest.mark.parametrize(
    "headers",
    [
        [(b"Content-Length", b"3"), (b"Content-Length", b"4")],
        [(b"Content-Length", b"-3")],
        [(b"X", b"a\r\nY: b")],
        [(b"X", b"a\nb")],
        [(b"X", b"a\0b")],
        [(b"X\r\nY", b"a")],
    ],
)
def test_a_response_that_would_forge_another_is_refused(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(BadResponse):
        final_head(200, headers, request(), keep_alive=True)


@pytest.mark.parametrize("status", [100, 101, 199])
def test_an_interim_status_is_no_response(status: int) -> None:
    with pytest.raises(BadResponse):
        final_head(status, [], request(), keep_alive=True)


def test_a_switch_gets_its_connection_fields_back() -> None:
    head = switching_head([(b"Sec-Websocket-Accept", b"x"), (b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")])
    assert head == (
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-Websocket-Accept: x\r\n\r\n"
    )


def test_an_error_page_escapes_its_reason_and_bounds_it() -> None:
    page = error_response(502, "<script>" + "x" * 5000, ray="abc")
    assert b"<script>" not in page
    assert b"&lt;script&gt;" in page
    assert len(page) < 3000
    head, _, body = page.partition(b"\r\n\r\n")
    assert b"Content-Length: %d" % len(body) in head
    assert error_response(530, "x", head_only=True).endswith(b"\r\n\r\n")


def test_identity_replaces_what_a_visitor_says_and_extends_the_forwarded_chain() -> None:
    headers = [(b"X-Forwarded-Proto", b"https"), (b"x-forwarded-for", b"1.1.1.1"), (b"X-Forwarded-Foz", b"kept")]
    assert VisitorIdentity("2001:db8::1%eth0").add_to(headers, "ray") == [
        (b"X-Forwarded-Foz", b"kept"),
        (b"Cf-Connecting-Ip", b"2001:db8::1"),
        (b"X-Forwarded-Proto", b"http"),
        (b"X-Forwarded-For", b"1.1.1.1, 2001:db8::1"),
        (b"Cf-Ray", b"ray"),
    ]


def test_ray_numbers_differ() -> None:
    rays = RayNumbers(255, "local")
    assert [rays.next_ray(), rays.next_ray()] == ["00000000000000ff-LOCAL", "0000000000000100-LOCAL"]
