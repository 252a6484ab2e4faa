"""Carry the body of a response from its stream to the visitor's socket, framed as its head says."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pyconnector.edge.connectors.exchange import END_TIMEOUT, PIECE, Broken
from pyconnector.edge.visitors.http1.response_head import Framing, trailer_section
from pyconnector.protocol.errors import ProtocolError
from pyconnector.transport.errors import TransportError

if TYPE_CHECKING:
    from pyconnector.edge.connectors.exchange import Exchange
    from pyconnector.edge.visitors.http1.response_head import ResponseHead
    from pyconnector.edge.visitors.sockets import WriteGate


async def write_response(socket: asyncio.Transport, gate: WriteGate, exchange: Exchange, head: ResponseHead) -> None:
    """Write head and body, as fast as the visitor takes them, and give the stream a moment to end too.

    Cancel leaves part of it written: close the socket.

    Raises:
        Broken: the stream broke off, or ended too early.
    """
    data: bytes | None = exchange.leftover
    try:
        if not data:
            data = exchange.body.receive_nowait(PIECE)
        if head.framing is Framing.NONE:
            socket.write(head.data)
            await wait_for_end(exchange, data)
        elif head.framing is Framing.LENGTH:
            await _write_length(socket, gate, exchange, head, data)
        else:
            await _write_open_ended(socket, gate, exchange, head, data)
    except TransportError as exc:
        raise Broken(f"The connector broke off in the middle of the response: {exc}.") from exc


async def _write_length(
    socket: asyncio.Transport, gate: WriteGate, exchange: Exchange, head: ResponseHead, data: bytes | None
) -> None:
    stream = exchange.body
    remaining = head.length
    if not data or not remaining:
        socket.write(head.data)
    elif len(data) <= remaining:
        remaining -= len(data)
        socket.write(head.data + data)
        data = None
    else:
        socket.write(head.data + data[:remaining])
        return
    while remaining:
        if data is None:
            data = stream.receive_nowait(PIECE)
            if data is None:
                data = await stream.receive(PIECE)
        if not data:
            raise Broken("The connector ended the response early.")
        if len(data) > remaining:
            socket.write(data[:remaining])
            return
        remaining -= len(data)
        socket.write(data)
        data = None
        if gate.paused:
            await gate.wait()
    await wait_for_end(exchange, data)


async def _write_open_ended(
    socket: asyncio.Transport, gate: WriteGate, exchange: Exchange, head: ResponseHead, data: bytes | None
) -> None:
    stream = exchange.body
    chunked = head.framing is Framing.CHUNKED
    pending = head.data
    while True:
        if data is None:
            if pending:
                socket.write(pending)  # a head never waits for its body
                pending = b""
            data = await stream.receive(PIECE)
        if not data:
            break
        socket.write(b"%b%x\r\n%b\r\n" % (pending, len(data), data) if chunked else pending + data)
        pending = b""
        if gate.paused:
            await gate.wait()
        data = stream.receive_nowait(PIECE)
    if chunked or pending:
        trailers = exchange.trailers
        socket.write(pending + ((trailer_section(trailers) if trailers else b"0\r\n\r\n") if chunked else b""))
    if stream is not exchange.stream:
        await wait_for_end(exchange)


async def wait_for_end(exchange: Exchange, data: bytes | None = None) -> None:
    """Wait a moment for the end of a stream whose response is whole, for cutting it off makes noise for nothing.

    `data` is what was received last, None if nothing is known of what follows. Cancel at any time.
    """
    try:
        if data is None and exchange.body.receive_nowait(PIECE) is None:
            async with asyncio.timeout(END_TIMEOUT):
                await exchange.body.receive(PIECE)
        if exchange.body is not exchange.stream and exchange.stream.receive_nowait() is None:
            async with asyncio.timeout(END_TIMEOUT):
                await exchange.stream.receive()
    except (TransportError, ProtocolError, TimeoutError):
        pass  # the visitor has all it needs
