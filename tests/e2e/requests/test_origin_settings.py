"""Every key of originRequest that the reference has: from the config, through edge and connector, to a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.houses.house import House, open_house
from tests.support.identity.certificates import Authority
from tests.support.peers.raw_origin import Peer, RawOrigin, answering, raw_origin
from tests.support.peers.raw_visitor import RawVisitor, Response, get

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def ask(house: House, host: str = "app.test", *lines: str) -> Response:
    async with RawVisitor(house.edge.visitor_address) as visitor:
        return await visitor.request(get("/", host, *lines))


async def noted(peer: Peer) -> None:
    """Answer every request, and keep what was received."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            await peer.head()
            peer.writer.write(OK)


def rule(hostname: str, service: str, **options: Any) -> dict[str, Any]:
    return {"hostname": hostname, "service": service, "originRequest": options}


LAST = {"service": "http_status:404"}


def fields_of(received: bytes) -> list[str]:
    return received.decode("latin-1").split("\r\n")[1:-2]


async def test_a_key_of_the_rule_beats_one_of_the_top_level() -> None:
    async with raw_origin(noted) as origin:
        service = f"http://127.0.0.1:{origin.port}"
        rules = [rule("own.test", service, httpHostHeader="rule.internal"), {"service": service}]
        async with open_house(rules, originRequest={"httpHostHeader": "top.internal"}) as house:
            await ask(house, "own.test")
            await ask(house, "other.test")
        seen = [field for peer in origin.peers for field in fields_of(peer.received)]
        hosts = [field for field in seen if field.startswith(("Host:", "X-Forwarded-Host:"))]
        assert hosts == [
            "Host: rule.internal",
            "X-Forwarded-Host: own.test",
            "Host: top.internal",
            "X-Forwarded-Host: other.test",
        ]


async def test_disable_chunked_encoding_gives_a_body_its_length() -> None:
    bodies: list[bytes] = []

    async def take(peer: Peer) -> None:
        head = await peer.head()
        bodies.append(await peer.exactly(5) if b"Content-Length: 5\r\n" in head else await peer.exactly(15))
        await peer.send(OK)

    async with raw_origin(take) as origin:
        service = f"http://127.0.0.1:{origin.port}"
        async with open_house([rule("wsgi.test", service, disableChunkedEncoding=True), {"service": service}]) as house:
            for host in ("wsgi.test", "other.test"):
                async with RawVisitor(house.edge.visitor_address) as visitor:
                    head = f"POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
                    visitor.send(head + b"5\r\nhello\r\n0\r\n\r\n")
                    assert (await visitor.response()).body == b"ok"
        without, chunked = (peer.received for peer in origin.peers)
        assert b"chunked" not in without
        assert b"Transfer-Encoding: chunked\r\n" in chunked
        assert bodies == [b"hello", b"5\r\nhello\r\n0\r\n\r\n"]


async def test_disable_chunked_encoding_asks_for_the_length_of_a_large_body() -> None:
    async with raw_origin(noted) as origin:
        options = {"disableChunkedEncoding": True}
        async with open_house([{"service": f"http://127.0.0.1:{origin.port}", "originRequest": options}]) as house:
            async with RawVisitor(house.edge.visitor_address) as visitor:
                visitor.send(b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n")
                visitor.send(b"200000\r\n" + bytes(0x200000) + b"\r\n0\r\n\r\n")
                assert (await visitor.response()).status == 411
        assert not origin.peers


# -- TLS -----------------------------------------------------------------------------------------------------------


async def test_tls_keys_decide_whom_the_connector_believes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    authority = Authority(tmp_path)
    pool = {"caPool": str(authority.path)}

    async with raw_origin(noted, tls=authority.server("one.test", "two.test")) as origin:
        service = f"https://127.0.0.1:{origin.port}"
        rules = [
            rule("default.test", service),
            rule("unverified.test", service, noTLSVerify=True),
            rule("pool.test", service, **pool),
            rule("named.test", service, **pool, originServerName="one.test"),
            rule("two.test", service, **pool, matchSNItoHost=True),
            rule("three.test", service, **pool, matchSNItoHost=True),
            LAST,
        ]
        statuses = {}
        async with open_house(rules) as house:
            for one in rules[:-1]:
                statuses[one["hostname"]] = (await ask(house, str(one["hostname"]))).status
    assert statuses == {
        "default.test": 502,
        "unverified.test": 200,
        "pool.test": 502,
        "named.test": 200,
        "two.test": 200,
        "three.test": 502,
    }
    assert "it is for one.test, two.test" in caplog.text, "the certificate's own names are said"


async def test_the_tls_timeout_ends_a_handshake_that_is_never_answered(caplog: pytest.LogCaptureFixture) -> None:
    async def silent(peer: Peer) -> None:
        await peer.closed_after_rest()

    async with raw_origin(silent) as origin:
        rules = [{"service": f"https://127.0.0.1:{origin.port}", "originRequest": {"tlsTimeout": "200ms"}}]
        async with open_house(rules) as house:
            assert (await ask(house)).status == 502
    assert "0.2 s" in caplog.text


# -- connections ---------------------------------------------------------------------------------------------------


def options_towards(origin: RawOrigin) -> list[tuple[int, ...]]:
    """Keep-alive on, idle, interval and no delay of each socket of this process that is connected to `origin`."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if not os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(name))) as sock:
                if sock.family is socket.AF_INET and sock.getpeername()[1] == origin.port:
                    tcp = [
                        sock.getsockopt(socket.IPPROTO_TCP, option)
                        for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_NODELAY)
                    ]
                    found.append((sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), *tcp))
    return found


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="sockets are looked up in /proc")
@pytest.mark.parametrize(
    ("written", "alive"), [("7s", (1, 7, 7)), ("0s", (1, 15, 15)), (None, (1, 30, 30)), ("-1s", (0,))]
)
async def test_tcp_keep_alive_is_on_the_socket(written: str | None, alive: tuple[int, ...]) -> None:
    async with raw_origin(noted) as origin:
        options = {} if written is None else {"tcpKeepAlive": written}
        rules = [{"service": f"http://127.0.0.1:{origin.port}", "originRequest": options}]
        async with open_house(rules) as house:
            await ask(house)
            (found,) = options_towards(origin)
    assert found[: len(alive)] == alive
    assert found[3] == 1


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, 1), ({"keepAliveTimeout": "50ms"}, 2), ({"keepAliveConnections": 1}, 1)],
    ids=["default", "timeout", "one"],
)
async def test_idle_connections_are_kept_as_long_as_asked_for(options: dict[str, Any], expected: int) -> None:
    async with raw_origin(noted) as origin:
        async with open_house([{"service": f"http://127.0.0.1:{origin.port}", "originRequest": options}]) as house:
            await ask(house)
            if "keepAliveTimeout" in options:
                async with asyncio.timeout(30):
                    while origin.running:
                        await asyncio.sleep(0.01)
            await ask(house)
    assert len(origin.peers) == expected


async def test_no_more_idle_connections_are_kept_than_asked_for() -> None:
    together = asyncio.Barrier(4)

    async def meet(peer: Peer) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await peer.reader.readuntil(b"\r\n\r\n")
                await together.wait()
                peer.writer.write(OK)

    async with raw_origin(meet) as origin:
        options = {"keepAliveConnections": 3}
        async with open_house([{"service": f"http://127.0.0.1:{origin.port}", "originRequest": options}]) as house:
            await asyncio.gather(*(ask(house) for _ in range(4)))
            async with asyncio.timeout(30):
                while len(origin.running) != 3:
                    await asyncio.sleep(0.005)


@pytest.mark.parametrize("serial", [False, True])
async def test_every_address_of_a_name_is_tried(serial: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first address refuses: the next one serves, raced or (noHappyEyeballs) in turn."""
    lookup: Callable[..., Any] = asyncio.BaseEventLoop.getaddrinfo

    async def getaddrinfo(self: Any, host: Any, port: Any, **more: Any) -> Any:
        if host != "dual.internal":
            return await lookup(self, host, port, **more)
        kind = (socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        return [
            (socket.AF_INET, *kind, ("127.0.0.2", port)),
            (socket.AF_INET, *kind, ("127.0.0.1", port)),
        ]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)

    async with raw_origin(answering(OK)) as origin:
        options = {"noHappyEyeballs": serial}
        async with open_house([{"service": f"http://dual.internal:{origin.port}", "originRequest": options}]) as house:
            assert (await ask(house)).status == 200
