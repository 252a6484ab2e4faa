"""HTTP/2 over TLS is the service's choice: what ALPN makes of `http2Origin`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from pyconnector.ingress.config.settings import OriginSettings
from pyconnector.origins import build_origin
from pyconnector.origins.base import OriginError
from tests.origins.http2.test_http2 import echo
from tests.origins.support import get, read_all
from tests.origins.test_build import https, serve
from tests.support.identity.certificates import Authority
from tests.support.peers.h2_origin import h2_server
from tests.support.peers.raw_origin import raw_origin
from tests.support.wire.bodies import Body

if TYPE_CHECKING:
    from pathlib import Path


pytestmark = pytest.mark.usefixtures("each_loop")


def settings(authority: Authority, **more: object) -> OriginSettings:
    return OriginSettings(http2_origin=True, ca_pool=str(authority.path), **more)  # type: ignore[arg-type]


async def test_a_service_that_chooses_http2_gets_it_on_one_connection(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    tls = authority.server("127.0.0.1")
    tls.set_alpn_protocols(["h2", "http/1.1"])

    async with h2_server(echo, tls=tls) as (port, made):
        origin = build_origin(https(port), settings(authority))
        await origin.start()
        responses = await asyncio.gather(*(origin.serve(get(), Body()) for _ in range(5)))
        assert [await read_all(response) for response in responses] == [b"hello"] * 5
        assert [response.trailers for response in responses] == [[(b"grpc-status", b"0")]] * 5
        await origin.close()
        (connection,) = made
        await connection.lost
        assert connection.transport.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"


@pytest.mark.parametrize("alpn", [["http/1.1"], []])
async def test_a_service_that_does_not_choose_http2_is_spoken_to_over_http1(tmp_path: Path, alpn: list[str]) -> None:
    authority = Authority(tmp_path)
    tls = authority.server("127.0.0.1")
    if alpn:
        tls.set_alpn_protocols(alpn)

    async with raw_origin(serve, tls=tls) as server:
        origin = build_origin(https(server.port), settings(authority))
        await origin.start()
        for _ in range(3):
            assert await read_all(await origin.serve(get(), Body())) == b"hi"
        await origin.close()
        # The connection that learned the choice said nothing, and the choice is not asked for again.
        assert [peer.requests for peer in server.peers if peer.requests] == [3]
        assert len(server.peers) <= 2


async def test_names_are_verified_over_http2_too(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    tls = authority.server("one.test")
    tls.set_alpn_protocols(["h2"])

    async with h2_server(echo, tls=tls) as (port, _):
        origin = build_origin(https(port), settings(authority))
        await origin.start()
        with pytest.raises(OriginError, match=r"does not fit 127\.0\.0\.1: it is for one\.test"):
            await origin.serve(get(), Body())
        await origin.close()
        named = build_origin(https(port), settings(authority, origin_server_name="one.test"))
        await named.start()
        assert await read_all(await named.serve(get(), Body())) == b"hello"
        await named.close()
