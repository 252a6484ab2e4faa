"""The HTTP server of the control plane by itself."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from pyconnector.control.server import ApiServer


async def nothing(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


async def test_what_follows_a_head_does_not_wait_for_an_acknowledgment() -> None:
    server = ApiServer(nothing)
    reader, writer = await asyncio.open_connection(*await server.start("127.0.0.1", 0))
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    (connection,) = server._server.server_state.connections
    accepted = connection.transport.get_extra_info("socket")
    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    writer.close()
    await writer.wait_closed()
    await server.close()
