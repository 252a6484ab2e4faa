"""One call of the edge to a connector, on a stream of its own (wire.md 10)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.rpc.conversation import READ_BYTES
from pyconnector.protocol.rpc.registration import CallFailed, ConversationEnded
from pyconnector.protocol.streams.openings import encode_rpc_opening
from pyconnector.transport.errors import TransportError

if TYPE_CHECKING:
    from pyconnector.protocol.rpc.edge_rpc import ClientEvent, EdgeRpcClient
    from pyconnector.transport.seam import Connection

#: Seconds for one call in either direction (wire.md 16).
RPC_TIMEOUT = 5.0


class RpcFailed(Exception):
    """A call got no usable answer. The text is one sentence."""


async def call(transport: Connection, client: EdgeRpcClient) -> ClientEvent:
    """Make the one call that `client` holds, and return its answer. Cancel abandons it.

    Raises:
        RpcFailed: there was none in time, or it was an error.
    """
    try:
        async with asyncio.timeout(RPC_TIMEOUT):
            return await _call(transport, client)
    except TimeoutError:
        raise RpcFailed(f"The connector did not answer within {RPC_TIMEOUT:g} s.") from None
    except (TransportError, ProtocolError) as exc:
        raise RpcFailed(f"The call to the connector broke off: {exc}.") from exc


async def _call(transport: Connection, client: EdgeRpcClient) -> ClientEvent:
    stream = await transport.open_stream()
    try:
        await stream.send(encode_rpc_opening() + client.bytes_to_send())
        while True:
            data = await stream.receive(READ_BYTES)
            events = client.receive_data(data) if data else client.receive_eof()
            for event in events:
                if isinstance(event, CallFailed):
                    raise RpcFailed(f"The connector answered with an error: {event.reason}.")
                if not isinstance(event, ConversationEnded):
                    stream.finish()
                    return event
            if not data:
                raise RpcFailed("The connector ended the stream without an answer.")
            if more := client.bytes_to_send():
                await stream.send(more)
            await asyncio.sleep(0)  # a connector that floods holds nobody else up
    finally:
        stream.stop()
        stream.reset()
