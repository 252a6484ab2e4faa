"""A listener that stops: whoever was accepted in its last turns is told to the protocol, and lost by nobody."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from collections.abc import Callable
from typing import cast

import pytest

from pyconnector.connector.observe.server.accepting import stop_accepting
from tests.support.loop.leaks import nothing_left

CLIENTS = 20


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    if name == "uvloop":
        return cast("Callable[[], asyncio.AbstractEventLoop]", pytest.importorskip("uvloop").new_event_loop)
    return asyncio.SelectorEventLoop


class Accepted(asyncio.Protocol):
    def __init__(self, known: list[asyncio.Transport]) -> None:
        self.known = known

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.known.append(cast("asyncio.Transport", transport))


def is_over(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


@pytest.mark.parametrize("turns", range(6))
@pytest.mark.usefixtures("each_loop")
async def test_no_accepted_socket_outlives_its_listener(turns: int) -> None:
    async with nothing_left():
        known: list[asyncio.Transport] = []
        server = await asyncio.get_running_loop().create_server(lambda: Accepted(known), "127.0.0.1", 0)
        clients = [socket.create_connection(server.sockets[0].getsockname()) for _ in range(CLIENTS)]
        with contextlib.ExitStack() as stack:
            for client in clients:
                stack.enter_context(client)
                client.setblocking(False)
            for _ in range(turns):
                await asyncio.sleep(0)
            await stop_accepting(server)
            await stop_accepting(server)
            for transport in known:
                transport.abort()
            gc.disable()  # closing by the collector is what this is not about
            try:
                async with asyncio.timeout(30):
                    while not all(map(is_over, clients)):
                        await asyncio.sleep(0.001)
            finally:
                gc.enable()
