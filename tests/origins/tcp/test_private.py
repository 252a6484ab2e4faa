"""Private-network TCP: raw bytes to an address."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import pytest

from pyconnector.ingress.config.settings import OriginSettings
from pyconnector.origins.base import OriginError, RequestKind
from pyconnector.origins.tcp.private import PrivateTcpOrigin, address_of
from tests.origins.support import get, read_all, until
from tests.support.peers.raw_origin import raw_origin
from tests.support.wire.bodies import Body

if TYPE_CHECKING:
    from pyconnector.origins.base import OriginRequest
    from tests.support.peers.raw_origin import Peer

ORIGIN = OriginSettings(connect_timeout=5.0)  # has the two settings that warp-routing has


def to(destination: str) -> OriginRequest:
    request = get(kind=RequestKind.TCP)
    request.destination = destination
    return request


@pytest.mark.usefixtures("each_loop")
async def test_bytes_pass_and_each_direction_ends_alone() -> None:
    async def script(peer: Peer) -> None:
        assert await peer.rest() == b"question"
        await peer.send(b"answer")

    async with raw_origin(script) as server:
        response = await PrivateTcpOrigin(ORIGIN).serve(to(f"127.0.0.1:{server.port}"), Body(b"ques", b"tion"))
        assert response.tunnel
        assert await read_all(response) == b"answer"
        await until(lambda: not server.running)


@pytest.mark.usefixtures("each_loop")
async def test_what_was_sent_last_still_arrives() -> None:
    got: list[bytes] = []

    async def script(peer: Peer) -> None:
        peer.half_close()
        await asyncio.sleep(0.02)
        got.append(await peer.rest())

    async with raw_origin(script) as server:
        response = await PrivateTcpOrigin(ORIGIN).serve(to(f"127.0.0.1:{server.port}"), Body(*[b"x" * 65536] * 16))
        assert await read_all(response) == b""
        await until(lambda: bool(got))
    assert got == [b"x" * (1 << 20)]


@pytest.mark.usefixtures("each_loop")
async def test_a_reset_travels_either_way() -> None:
    async def resets(peer: Peer) -> None:
        await peer.some()
        peer.reset()

    async def is_reset(peer: Peer) -> None:
        with pytest.raises(ConnectionResetError):
            await peer.rest()

    async with raw_origin(resets) as server:
        response = await PrivateTcpOrigin(ORIGIN).serve(to(f"127.0.0.1:{server.port}"), Body(b"x", end=False))
        with pytest.raises(OriginError):
            await response.receive()
        response.abort()
    async with raw_origin(is_reset) as server:
        body = Body(end=False)
        response = await PrivateTcpOrigin(ORIGIN).serve(to(f"127.0.0.1:{server.port}"), body)
        await asyncio.sleep(0.01)
        body.fail(RuntimeError("stream reset by the peer"))
        await until(lambda: not server.running, patience=0.1)
        response.abort()


@pytest.mark.usefixtures("each_loop")
async def test_cancelling_the_dial_leaves_nothing() -> None:
    async with raw_origin(lambda peer: peer.closed()) as server:
        for turns in range(6):
            serving = asyncio.create_task(
                PrivateTcpOrigin(ORIGIN).serve(to(f"127.0.0.1:{server.port}"), Body(end=False))
            )
            for _ in range(turns):
                await asyncio.sleep(0)
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                (await serving).abort()
        await until(lambda: not server.running)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:80", "127.0.0.1", 80),
        ("[::1]:65535", "::1", 65535),
        ("[2606:4700:cf1::1]:53", "2606:4700:cf1::1", 53),
    ],
)
def test_destinations(text: str, host: str, port: int) -> None:
    endpoint = address_of(text)
    assert (endpoint.host, endpoint.port) == (host, port)


@pytest.mark.usefixtures("each_loop")
@pytest.mark.parametrize(
    "text",
    ["", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:٣", "localhost:80",
     "::1:80", "[127.0.0.1]:80", "[::1]", "[::1]:http", "http://127.0.0.1:80", "127.1:80", "127.0.0.1:80\n", ":80"],
)  # fmt: skip
async def test_what_is_no_destination(text: str) -> None:
    with pytest.raises(OriginError, match="an IP address and a port are needed"):
        await PrivateTcpOrigin(ORIGIN).serve(to(text), Body())


@pytest.mark.usefixtures("each_loop")
async def test_only_tcp_streams_are_taken_and_a_dead_address_is_said_so() -> None:
    with pytest.raises(OriginError):
        await PrivateTcpOrigin(ORIGIN).serve(get(), Body())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(OriginError, match=f"127.0.0.1:{port} refused the connection"):
        await PrivateTcpOrigin(ORIGIN).serve(to(f"127.0.0.1:{port}"), Body())
