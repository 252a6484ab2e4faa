"""A service that ended its side of a WebSocket carriage is sent data for as long as its visitor has some."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from pyconnector.ingress.config.settings import OriginSettings
from pyconnector.origins.base import RequestKind
from pyconnector.origins.net.dial import Endpoint
from pyconnector.origins.tcp.stream import StreamOrigin
from pyconnector.origins.websocket import carriage
from pyconnector.web.websocket import frames
from tests.origins.support import get
from tests.support.peers.frames import masked
from tests.support.peers.raw_origin import Peer, raw_origin
from tests.support.wire.bodies import Body

if TYPE_CHECKING:
    pass


@pytest.mark.usefixtures("each_loop")
async def test_a_visitor_who_is_still_sending_is_not_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carriage, "CLOSE_TIMEOUT", 0.2)
    heard = asyncio.Queue[bytes]()

    async def script(peer: Peer) -> None:
        peer.half_close()
        while data := await peer.some():
            await heard.put(data)

    body = Body(end=False)
    async with raw_origin(script) as server:
        origin = StreamOrigin(Endpoint(host="127.0.0.1", port=server.port), OriginSettings())
        response = await origin.serve(get("/", kind=RequestKind.WEBSOCKET, length=None), body)
        while await response.receive():
            pass
        finishing = asyncio.create_task(response.finish())
        for _ in range(10):  # twice the timeout in all
            body.put(masked(frames.BINARY, b"more"))
            assert await heard.get() == b"more"
            await asyncio.sleep(0.04)
        body.put(masked(frames.CLOSE, b"\x03\xe8"))
        await asyncio.wait_for(finishing, 30)
