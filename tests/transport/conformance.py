"""What every transport engine must do, as functions over a factory of connection pairs.

A test module of an engine runs `CHECKS` over its own `MakePair`. A check opens streams from either end; where it says
"client" or "server" it means the first or second of the pair.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeAlias, TypeVar

from pyconnector.transport.seam import Connection, Stream

#: No single await of a check lasts longer than this.
PATIENCE = 30.0

Pair: TypeAlias = tuple[Connection, Connection]


class MakePair(Protocol):
    """Open a pair whose windows are fixed at these sizes; `streams` is how many one end may open at once."""

    def __call__(
        self, *, stream_window: int = ..., connection_window: int = ..., streams: int = ...
    ) -> AbstractAsyncContextManager[Pair]: ...


Check: TypeAlias = Callable[[MakePair], Coroutine[Any, Any, None]]
_T = TypeVar("_T")


async def open_both(opener: Connection, acceptor: Connection, first: bytes = b"?") -> tuple[Stream, Stream]:
    """Open a stream, send `first` on it and return both of its ends, with `first` received."""
    near = await opener.open_stream()
    await near.send(first)
    far = await asyncio.wait_for(acceptor.accept_stream(), PATIENCE)
    received = b""
    while len(received) < len(first):
        received += await asyncio.wait_for(far.receive(len(first) - len(received)), PATIENCE)
    assert received == first
    return near, far


async def read_all(stream: Stream, limit: int = 65536) -> bytes:
    """Receive until the peer's end."""
    pieces = []
    while piece := await asyncio.wait_for(stream.receive(limit), PATIENCE):
        assert len(piece) <= limit
        pieces.append(piece)
    return b"".join(pieces)


async def send_all(stream: Stream, data: bytes, *, step: int = 50_000) -> None:
    """Send in pieces, then finish."""
    for start in range(0, len(data), step):
        await asyncio.wait_for(stream.send(data[start : start + step]), PATIENCE)
    stream.finish()


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until `condition` holds, looking again at every turn of the loop that something else needed."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"never happened: {what}"
        await asyncio.sleep(0.001)


async def exchange(client: Any, server: Any) -> None:
    """One request without a body and its answer."""
    near, far = await open_both(client, server)
    near.finish()
    assert await read_all(far) == b""
    far.send_nowait(b"answer", finish=True)
    assert await read_all(near) == b"answer"


async def fill(stream: Stream, piece: bytes = bytes(16384)) -> int:
    """Send until the peer's windows and our backlog are full; return the bytes that were queued."""
    queued = 0
    while True:
        if stream.send_nowait(piece):
            queued += len(piece)
            try:
                async with asyncio.timeout(0.3):
                    await stream.drain()
            except TimeoutError:
                return queued
        else:
            queued += len(piece)
