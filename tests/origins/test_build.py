"""From a rule's service and settings to its origin, with real TLS where names matter."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from pyconnector.ingress.config.services import HttpService, UnixService, parse_service
from pyconnector.ingress.config.settings import OriginSettings
from pyconnector.origins import OriginError, OriginResources, RequestKind, build_origin
from pyconnector.origins.build import host_name
from pyconnector.origins.builtin.hello import HelloOrigin
from pyconnector.origins.builtin.status import StatusOrigin
from pyconnector.origins.http1 import HttpOrigin
from pyconnector.origins.http2 import Http2Origin
from pyconnector.origins.net import channel
from pyconnector.origins.tcp.bastion import BastionOrigin
from pyconnector.origins.tcp.socks import SocksOrigin
from pyconnector.origins.tcp.stream import StreamOrigin
from tests.origins.support import OK_HI, get, read_all
from tests.support.identity.certificates import Authority
from tests.support.peers.raw_origin import raw_origin
from tests.support.wire.bodies import Body

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.peers.raw_origin import Peer


@pytest.mark.usefixtures("each_loop")
@pytest.mark.parametrize(
    ("service", "settings", "kind"),
    [
        ("http_status:404", {}, StatusOrigin),
        ("hello_world", {}, HelloOrigin),
        ("http://localhost", {}, HttpOrigin),
        ("wss://localhost", {}, HttpOrigin),
        ("https://localhost", {"http2_origin": True}, Http2Origin),
        ("https://localhost", {"http2_origin": True, "match_sni_to_host": True}, HttpOrigin),
        ("http://localhost", {"http2_origin": True}, HttpOrigin),
        ("h2c://localhost", {}, Http2Origin),
        ("unix:/run/app.sock", {}, HttpOrigin),
        ("unix+tls:/run/app.sock", {}, HttpOrigin),
        ("ssh://localhost", {}, StreamOrigin),
        ("bastion", {}, BastionOrigin),
        ("socks-proxy", {}, SocksOrigin),
    ],
)
async def test_every_service_has_its_origin(service: str, settings: dict[str, bool], kind: type) -> None:
    origin = build_origin(parse_service(service), OriginSettings(**settings))  # type: ignore[arg-type]
    assert type(origin) is kind
    await origin.start()
    await origin.close()
    await origin.close()


async def serve(peer: Peer) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            await peer.head()
            await peer.send(OK_HI)


async def ask(service: HttpService | UnixService, settings: OriginSettings, *hosts: str) -> None:
    origin = build_origin(service, settings)
    await origin.start()
    try:
        for host in hosts:
            assert await read_all(await origin.serve(get(host=host), Body())) == b"hi"
    finally:
        await origin.close()


def https(port: int) -> HttpService:
    return HttpService("https", "127.0.0.1", port, f"https://127.0.0.1:{port}")


@pytest.mark.usefixtures("each_loop")
async def test_the_name_that_is_verified(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pool = str(authority.path)

    async with raw_origin(serve, tls=authority.server("one.test", "two.test")) as server:
        service = https(server.port)
        await ask(service, OriginSettings(ca_pool=pool, origin_server_name="one.test"), "other.test")
        with pytest.raises(OriginError, match=r"does not fit 127\.0\.0\.1: it is for one\.test, two\.test"):
            await ask(service, OriginSettings(ca_pool=pool), "one.test")
        with pytest.raises(OriginError, match="unknown authority"):
            await ask(service, OriginSettings(origin_server_name="one.test"), "one.test")
        await ask(service, OriginSettings(no_tls_verify=True), "whatever.test")


@pytest.mark.usefixtures("each_loop")
async def test_match_sni_to_host_verifies_each_host_and_never_mixes_connections(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    settings = OriginSettings(ca_pool=str(authority.path), match_sni_to_host=True, origin_server_name="ignored.test")

    async with raw_origin(serve, tls=authority.server("one.test", "two.test")) as server:
        service = https(server.port)
        await ask(service, settings, "one.test", "two.test:8443", "one.test:80")
        assert [peer.requests for peer in server.peers] == [2, 1]
        with pytest.raises(OriginError, match=r"does not fit three\.test"):
            await ask(service, settings, "one.test", "three.test")
        named = OriginSettings(ca_pool=str(authority.path), match_sni_to_host=True, http_host_header="two.test")
        await ask(service, named, "three.test")


@pytest.mark.usefixtures("each_loop")
async def test_unix_sockets_with_tls_verify_the_request_host_unless_told_otherwise(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    path = str(tmp_path / "app.sock")
    pool = str(authority.path)

    async with raw_origin(serve, path=path, tls=authority.server("one.test")):
        service = UnixService(path, tls=True)
        await ask(service, OriginSettings(ca_pool=pool), "one.test:443")
        await ask(service, OriginSettings(ca_pool=pool, origin_server_name="one.test"), "two.test")
        with pytest.raises(OriginError, match=r"does not fit two\.test: it is for one\.test"):
            await ask(service, OriginSettings(ca_pool=pool), "two.test")


@pytest.mark.usefixtures("each_loop")
async def test_a_host_header_is_for_urls_only(tmp_path: Path) -> None:
    path = str(tmp_path / "app.sock")
    settings = OriginSettings(http_host_header="inner.test")

    async with raw_origin(serve, path=path) as by_path, raw_origin(serve) as by_port:
        await ask(UnixService(path), settings, "one.test")
        await ask(HttpService("http", "127.0.0.1", by_port.port, ""), settings, "one.test")
        assert b"\r\nHost: one.test\r\n" in by_path.peers[0].received
        assert b"X-Forwarded-Host" not in by_path.peers[0].received
        assert b"\r\nHost: inner.test\r\n" in by_port.peers[0].received
        assert b"\r\nX-Forwarded-Host: one.test\r\n" in by_port.peers[0].received


@pytest.mark.usefixtures("each_loop")
async def test_a_missing_pool_shows_at_the_start_and_plain_http_needs_none() -> None:
    settings = OriginSettings(ca_pool="/no/such/pool.pem")
    with pytest.raises(OriginError, match=r"caPool /no/such/pool\.pem cannot be used"):
        await build_origin(https(443), settings).start()
    with pytest.raises(OriginError, match=r"caPool /no/such/pool\.pem cannot be used"):
        await build_origin(https(443), OriginSettings(ca_pool="/no/such/pool.pem", no_tls_verify=True)).start()
    await build_origin(HttpService("http", "localhost", 80, ""), settings).start()


@pytest.mark.usefixtures("each_loop")
async def test_extra_roots_are_trusted_by_every_origin(tmp_path: Path) -> None:
    authority = Authority(tmp_path)

    async with raw_origin(serve, tls=authority.server("127.0.0.1")) as server:
        resources = OriginResources(extra_roots=authority.path.read_text())
        origin = build_origin(https(server.port), OriginSettings(), resources=resources)
        await origin.start()
        assert await read_all(await origin.serve(get(), Body())) == b"hi"
        await origin.close()


@pytest.mark.usefixtures("each_loop")
async def test_websockets_pass_over_tls_and_a_half_close_there_has_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "TLS_LINGER", 0.05)
    authority = Authority(tmp_path)

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello")
        await peer.rest()

    async with raw_origin(script, tls=authority.server("127.0.0.1")) as server:
        origin = build_origin(https(server.port), OriginSettings(ca_pool=str(authority.path)))
        response = await origin.serve(get(kind=RequestKind.WEBSOCKET), Body(b"bye"))
        assert await response.receive() == b"hello"
        assert await asyncio.wait_for(response.receive(), 30) == b""
        await asyncio.wait_for(response.finish(), 30)
        await origin.close()


@pytest.mark.parametrize(
    ("host", "name"),
    [("a.test", "a.test"), ("a.test:80", "a.test"), ("[::1]:80", "::1"), ("[::1]", "::1"), ("::1", "::1"), ("", "")],
)
def test_the_name_in_a_host_field(host: str, name: str) -> None:
    assert host_name(host) == name
