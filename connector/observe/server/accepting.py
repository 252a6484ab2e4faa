"""The end of a TCP listener, without losing whom it accepted last; used by the metrics server."""

from __future__ import annotations

import asyncio

#: Turns of the loop from accepting a socket to its protocol knowing of it, on asyncio's own loop; fewer on uvloop.
_TURNS = 3


async def stop_accepting(server: asyncio.Server) -> None:
    """Close `server` when every socket that it accepted has come to its protocol; the caller then closes those.

    On its own, `Server.close` loses what was accepted a turn before: asyncio leaves such a socket open until it is
    collected as garbage, and its peer waits; uvloop hands it to its protocol after the caller closed all it knew of.
    Idempotent. Cancel leaves the server closed, and perhaps such a socket.
    """
    loop = asyncio.get_running_loop()
    try:
        # Proactor loops have no readers, and accept in their own way.
        if isinstance(loop, asyncio.SelectorEventLoop):
            for sock in server.sockets:
                loop.remove_reader(sock.fileno())
            for _ in range(_TURNS):
                await asyncio.sleep(0)
    finally:
        server.close()
    for _ in range(_TURNS):
        await asyncio.sleep(0)
