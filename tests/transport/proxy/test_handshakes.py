"""What is said to a proxy, and what becomes of its answers: whole, and byte by byte."""

from __future__ import annotations

import pytest

from pyconnector.transport.proxy.address import Proxy, parse_proxy
from pyconnector.transport.proxy.handshake import Handshake, ProxyRefused, handshake_for
from pyconnector.transport.proxy.http_connect import MAX_HEAD

HTTP = "http://proxy.test:3128"
SOCKS = "socks5://proxy.test"
GRANTED = bytes([5, 0, 0, 1, 127, 0, 0, 1, 0, 80])


def conversation(url: str, answers: list[bytes], host: str = "192.0.2.1", *, bytewise: bool = False) -> list[bytes]:
    """Everything that is said, an answer after each."""
    handshake = handshake_for(parse_proxy(url), host, 7844)
    said = [handshake.start()]
    for answer in answers:
        for piece in [answer[i : i + 1] for i in range(len(answer))] if bytewise else [answer]:
            assert not handshake.done
            if more := handshake.receive_data(piece):
                said.append(more)
    assert handshake.done, "the way is open"
    return said


@pytest.mark.parametrize("bytewise", [False, True])
def test_http_connect_says_who_asks_and_for_what(bytewise: bool) -> None:
    answer = b"HTTP/1.0 200 Connection established\r\nVia: x\r\n\r\n"
    (said,) = conversation("http://us%3Aer@proxy.test:1".replace("%3A", ""), [answer], bytewise=bytewise)
    assert said == (
        b"CONNECT 192.0.2.1:7844 HTTP/1.1\r\nHost: 192.0.2.1:7844\r\nProxy-Authorization: Basic dXNlcjo=\r\n\r\n"
    )
    (said,) = conversation(HTTP, [b"HTTP/1.1 200\r\n\r\n"], "2001:db8::1", bytewise=bytewise)
    assert said == b"CONNECT [2001:db8::1]:7844 HTTP/1.1\r\nHost: [2001:db8::1]:7844\r\n\r\n"


@pytest.mark.parametrize("bytewise", [False, True])
@pytest.mark.parametrize(
    ("host", "target"),
    [
        ("192.0.2.1", bytes([1, 192, 0, 2, 1])),
        ("2001:db8::1", bytes([4]) + bytes.fromhex("20010db8000000000000000000000001")),
        ("edge.test", bytes([3, 9]) + b"edge.test"),
    ],
)
def test_socks5_asks_for_addresses_and_names(host: str, target: bytes, bytewise: bool) -> None:
    said = conversation(SOCKS, [b"\x05\x00", GRANTED], host, bytewise=bytewise)
    assert said == [b"\x05\x01\x00", b"\x05\x01\x00" + target + (7844).to_bytes(2)]


@pytest.mark.parametrize("bytewise", [False, True])
def test_socks5_gives_the_password_where_it_is_asked_for(bytewise: bool) -> None:
    name_bound = bytes([5, 0, 0, 3, 3]) + b"abc" + bytes(2)
    said = conversation("socks5://me:p%40ss@proxy.test", [b"\x05\x02", b"\x01\x00", name_bound], bytewise=bytewise)
    assert said[:2] == [b"\x05\x02\x00\x02", b"\x01\x02me\x04p@ss"]
    assert conversation("socks5://me:p@proxy.test", [b"\x05\x00", GRANTED])[1][:2] == b"\x05\x01"


@pytest.mark.parametrize(
    ("url", "answers", "expected"),
    [
        (HTTP, [b"HTTP/1.1 403 For\x1b[1mbidden\r\n\r\n"], "refuses to connect to 192.0.2.1:7844: 403 For?[1mbidden"),
        (HTTP, [b"HTTP/1.1 407 x\r\nProxy-Authenticate: Basic realm=a\r\n\r\n"], "asks for a user name and password"),
        (
            HTTP,
            [b"HTTP/1.1 407 x\r\nProxy-Authenticate: Negotiate\r\nProxy-authenticate: NTLM\r\n\r\n"],
            "asks for Negotiate or NTLM authentication (407), and only Basic is spoken",
        ),
        ("http://a:b@proxy.test:1", [b"HTTP/1.1 407 x\r\n\r\n"], "does not accept these credentials"),
        (HTTP, [b"SSH-2.0-OpenSSH_9"], 'does not answer as an HTTP proxy does: "SSH-2.0-OpenSSH_9"'),
        (HTTP, [b"H\xff"], "does not answer as an HTTP proxy does"),
        (HTTP, [b"HTTP/1.1 abc\r\n\r\n"], "does not answer as an HTTP proxy does"),
        (HTTP, [b"HTTP/1.1 200 x\r\nA: " + b"a" * MAX_HEAD], "answers with a head longer than"),
        (HTTP, [b"HTTP/1.1 200 x\r\n\r\nPRI"], "sends more than its answer"),
        (SOCKS, [b"HTTP/1.1 400"], "does not answer as a SOCKS5 proxy does"),
        (SOCKS, [b"\x04"], "does not answer as a SOCKS5 proxy does"),
        (SOCKS, [b"\x05\xff"], "asks for a user name and password"),
        ("socks5://a:b@proxy.test", [b"\x05\xff"], "takes neither"),
        ("socks5://a:b@proxy.test", [b"\x05\x02", b"\x01\x01"], "does not accept these credentials"),
        (SOCKS, [b"\x05\x02"], "chose an authentication that was not offered (2)"),
        (SOCKS, [b"\x05\x00more"], "sends more than its answer"),
        (SOCKS, [b"\x05\x00", b"\x05\x02"], "refuses to connect to 192.0.2.1:7844: not allowed by its rules"),
        (SOCKS, [b"\x05\x00", b"\x05\x63\x00\x01"], "refuses to connect to 192.0.2.1:7844: error 99"),
        (SOCKS, [b"\x05\x00", b"\x05\x00\x00\x09\x00"], "an address of an unknown kind"),
        (SOCKS, [b"\x05\x00", GRANTED + b"x"], "sends more than its answer"),
    ],
)
def test_a_proxy_that_does_not_open_the_way_is_one_sentence(url: str, answers: list[bytes], expected: str) -> None:
    handshake: Handshake = handshake_for(parse_proxy(url), "192.0.2.1", 7844)
    handshake.start()
    for answer in answers[:-1]:
        handshake.receive_data(answer)
    with pytest.raises(ProxyRefused) as refused:
        handshake.receive_data(answers[-1])
    assert expected in str(refused.value)
    assert len(str(refused.value)) < 250
    assert not handshake.done


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://10.0.0.1:3128", Proxy(kind="http", host="10.0.0.1", port=3128)),
        ("10.0.0.1:3128", Proxy(kind="http", host="10.0.0.1", port=3128)),
        ("proxy.test:3128", Proxy(kind="http", host="proxy.test", port=3128)),
        ("HTTP://Proxy.Test/", Proxy(kind="http", host="proxy.test", port=80)),
        ("https://u:p%20w@[::1]:1", Proxy(kind="https", host="::1", port=1, username=b"u", password=b"p w")),
        ("socks5h://h", Proxy(kind="socks5", host="h", port=1080)),
    ],
)
def test_a_proxy_is_written_in_one_of_these_ways(text: str, expected: Proxy) -> None:
    assert parse_proxy(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "proxy.test",
        "ftp://h:1",
        "socks4://h:1",
        "http://",
        "http://h:0",
        "http://h:99999",
        "http://h:x",
        "http://h:1/path",
        "http://h:1?q",
        "http://h:",
        "http://[::1:3",
        "http://a b:1",
        "http://h\n:1",
        "http://a%3Ab:c@h:1",
        "socks5://:secret@h:1",
        f"socks5://{'u' * 256}:p@h:1",
    ],
)
def test_what_is_no_proxy_is_said_without_showing_it(text: str) -> None:
    with pytest.raises(ValueError, match=r"^[a-z]") as error:
        parse_proxy(text)
    assert "secret" not in str(error.value)
    assert not text or text not in str(error.value)


def test_credentials_are_in_no_text_of_a_proxy() -> None:
    proxy = parse_proxy("http://hugo:hush@proxy.test:1")
    assert str(proxy) == "http://proxy.test:1"
    assert "hush" not in repr(proxy)
    assert "hugo" not in repr(proxy)
    assert "hush" not in repr(handshake_for(proxy, "192.0.2.1", 1))
