import socket

import pytest

from pyconnector.ingress.rules.proxy_protocol import V2_SIGNATURE, proxy_header, visitor_address

SOURCE, DESTINATION = ("203.0.113.7", 51234), ("10.0.0.2", 22)
SOURCE6, DESTINATION6 = ("2001:db8::7", 51234), ("fd00::2", 22)


def test_version_1_is_one_line() -> None:
    assert proxy_header("v1", SOURCE, DESTINATION) == b"PROXY TCP4 203.0.113.7 10.0.0.2 51234 22\r\n"
    assert proxy_header("v1", SOURCE6, DESTINATION6) == b"PROXY TCP6 2001:db8::7 fd00::2 51234 22\r\n"
    assert proxy_header("v1", SOURCE6, DESTINATION) == b"PROXY TCP6 2001:db8::7 ::ffff:a00:2 51234 22\r\n"
    assert proxy_header("v1", None, DESTINATION) == b"PROXY UNKNOWN\r\n"


def test_version_2_is_binary() -> None:
    assert proxy_header("v2", SOURCE, DESTINATION) == (
        b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"
        + socket.inet_aton("203.0.113.7")
        + socket.inet_aton("10.0.0.2")
        + b"\xc8\x22\x00\x16"
    )
    header = proxy_header("v2", SOURCE, DESTINATION6)
    assert header[12:16] == b"\x21\x21\x00\x24"
    assert header[16:32] == b"\x00" * 10 + b"\xff\xff" + socket.inet_aton("203.0.113.7")
    assert len(header) == 16 + 36
    assert proxy_header("v2", SOURCE, None) == V2_SIGNATURE + b"\x20\x00\x00\x00"


def test_a_version_1_line_fits_the_room_that_readers_have() -> None:
    longest = ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535)
    assert len(proxy_header("v1", longest, longest)) <= 107


def test_zones_are_left_out() -> None:
    assert b"%" not in proxy_header("v1", ("fe80::1%eth0", 1), ("fe80::2%eth0", 2))


@pytest.mark.parametrize(
    "source", [("localhost", 1), ("203.0.113.7", -1), ("203.0.113.7", 65536), ("203.0.113.7\r\n", 1)]
)
def test_what_is_no_endpoint_is_an_error(source: tuple[str, int]) -> None:
    with pytest.raises(ValueError, match=r"."):
        proxy_header("v1", source, DESTINATION)


@pytest.mark.parametrize(
    ("headers", "address"),
    [
        ([(b"CF-Connecting-IP", b"203.0.113.7")], "203.0.113.7"),
        ([(b"cf-connecting-ip", b" 2001:DB8::7 ")], "2001:db8::7"),
        ([(b"cf-connecting-ip", b"203.0.113.7"), (b"cf-connecting-ip", b"203.0.113.7")], "203.0.113.7"),
        ([(b"cf-connecting-ip", b"203.0.113.7"), (b"cf-connecting-ip", b"10.0.0.1")], None),
        ([(b"cf-connecting-ip", b"203.0.113.7, 10.0.0.1")], None),
        ([(b"cf-connecting-ip", b"\xff")], None),
        ([(b"x-forwarded-for", b"203.0.113.7")], None),
    ],
)
def test_the_visitor_is_who_the_edge_says(headers: list[tuple[bytes, bytes]], address: str | None) -> None:
    assert visitor_address(headers) == address
