"""What the reference's users count on: no redirects followed, no cookies kept, no proxy but the config's word,
WebSockets to Unix sockets."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pyconnector.ingress.config.services import parse_service
from pyconnector.ingress.config.settings import OriginSettings
from pyconnector.origins.base import RequestKind
from pyconnector.origins.build import OriginResources, build_origin
from tests.origins.support import OK_HI, get, http_origin, read_all
from tests.support.peers.raw_origin import raw_origin
from tests.support.wire.bodies import Body

if TYPE_CHECKING:
    import pytest

    from pyconnector.origins.net.dial import Target
    from tests.support.peers.raw_origin import Peer

MOVED = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nSet-Cookie: seen=1\r\nContent-Length: 0\r\n\r\n"


async def test_redirects_are_not_followed_and_cookies_not_kept() -> None:
    heads: list[bytes] = []

    async def script(peer: Peer) -> None:
        heads.append(await peer.head())
        await peer.send(MOVED)
        heads.append(await peer.head())
        await peer.send(OK_HI)
        await peer.closed()

    async with http_origin(script) as (origin, _):
        response = await origin.serve(get("/first"), Body())
        assert (response.status, await read_all(response)) == (302, b"")
        assert response.headers[:2] == [(b"Location", b"/elsewhere"), (b"Set-Cookie", b"seen=1")]
        await read_all(await origin.serve(get("/second"), Body()))
        await origin.close()
    assert [head.split(b" ")[1] for head in heads] == [b"/first", b"/second"]
    assert b"Cookie" not in heads[1]


@pytest.mark.usefixtures("each_loop")
async def test_a_request_without_a_host_is_for_the_service_itself() -> None:
    heads: list[bytes] = []

    async def script(peer: Peer) -> None:
        heads.append(await peer.head())
        await peer.send(OK_HI)
        await peer.closed()

    async with http_origin(script) as (origin, server):
        asked = get("/")
        asked.host = ""
        await read_all(await origin.serve(asked, Body()))
        assert heads[0].startswith(b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" % server.port)
        await origin.close()


@pytest.mark.usefixtures("each_loop")
async def test_proxy_variables_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    async def script(peer: Peer) -> None:
        assert (await peer.head()).startswith(b"GET /x HTTP/1.1\r\n")
        await peer.send(OK_HI)
        await peer.closed()

    async def resolve(host: str, port: int) -> list[Target]:
        assert host == "service.example"
        return [(socket.AF_INET, ("127.0.0.1", port))]

    async with raw_origin(script) as server:
        service = parse_service(f"http://service.example:{server.port}")
        origin = build_origin(service, OriginSettings(), resources=OriginResources(resolver=resolve))
        await origin.start()
        assert await read_all(await origin.serve(get("/x"), Body())) == b"hi"
        await origin.close()


@pytest.mark.usefixtures("each_loop")
async def test_a_websocket_passes_to_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "app.sock")

    async def script(peer: Peer) -> None:
        assert (await peer.head()).startswith(b"GET /chat HTTP/1.1\r\nHost: app.test\r\n")
        await peer.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        assert await peer.exactly(4) == b"ping"
        await peer.send(b"pong")

    async with raw_origin(script, path=path):
        origin = build_origin(parse_service(f"unix:{path}"), OriginSettings())
        await origin.start()
        request = get("/chat", (b"Sec-Websocket-Key", b"a2V5"), kind=RequestKind.WEBSOCKET, length=None)
        response = await origin.serve(request, Body(b"ping"))
        assert (response.status, await read_all(response)) == (101, b"pong")
        await origin.close()
