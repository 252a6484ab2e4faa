"""A connector's HTTP/2 connection: the edge opens every stream of it, the control stream first (wire.md 14)."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from pyconnector.edge.connectors.calls import RPC_TIMEOUT
from pyconnector.edge.connectors.http2.exchange import open_http2_exchange
from pyconnector.edge.connectors.session import ConnectorSession, PushFailed
from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.http import http2_form as form
from pyconnector.protocol.rpc.edge_rpc import ConfigurationAnswered
from pyconnector.transport.errors import TransportError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from pyconnector.edge.connectors.exchange import Exchange, TunnelRequest
    from pyconnector.edge.connectors.tunnels import Member
    from pyconnector.edge.tasks import TaskSet
    from pyconnector.transport.http2 import Http2Connection, Http2Stream
    from pyconnector.transport.seam import Stream

#: Bytes of an answer to a configuration update.
MAX_ANSWER = 64 * 1024

_log = logging.getLogger("pyconnector.edge")


class Http2ConnectorSession(ConnectorSession):
    """The HTTP/2 form."""

    protocol = "http2"
    transport: Http2Connection

    def __init__(self, transport: Http2Connection) -> None:
        super().__init__(transport)

    def start(self, tasks: TaskSet, serve_control: Callable[[Stream], Coroutine[Any, Any, None]]) -> None:
        """See `ConnectorSession.start`."""
        tasks.start(self._ask_to_register(serve_control), "edge control stream")

    async def open(self, member: Member, request: TunnelRequest, *, body: bytes, finish: bool) -> Exchange:
        """See `Member.open`. Cancel leaves nothing behind."""
        return await open_http2_exchange(member, self.transport, request, body=body, finish=finish)

    async def push(self, version: int, configuration: bytes) -> ConfigurationAnswered:
        """See `ConnectorSession.push`. Cancel abandons the call."""
        try:
            async with asyncio.timeout(RPC_TIMEOUT):
                return await self._push(form.encode_update(version, configuration))
        except TimeoutError:
            raise PushFailed(f"The connector did not answer within {RPC_TIMEOUT:g} s.") from None
        except (TransportError, ProtocolError) as exc:
            raise PushFailed(f"The call to the connector broke off: {exc}.") from exc

    async def _push(self, body: bytes) -> ConfigurationAnswered:
        stream = await self.transport.open_request(form.update_fields())
        try:
            await stream.send(body)
            stream.finish()
            status = form.first(await stream.response(), b":status")
            if status != b"200":
                raise PushFailed(f"The connector answered with status {status.decode('ascii', 'replace')}.")
            version, error = form.decode_update_answer(await _read(stream))
            return ConfigurationAnswered(latest_applied_version=version, error=error)
        finally:
            stream.stop()
            stream.reset()

    async def _ask_to_register(self, serve_control: Callable[[Stream], Coroutine[Any, Any, None]]) -> None:
        try:
            stream = await self.transport.open_request(form.control_stream_fields())
            status = form.first(await stream.response(), b":status")
        except TransportError:
            return  # the connection ended: whoever waits for that tells of it
        if status != b"200":
            self.transport.close(0, "no control stream")
            return
        await serve_control(stream)


async def _read(stream: Http2Stream) -> bytes:
    pieces, size = [], 0
    while piece := await stream.receive():
        pieces.append(piece)
        size += len(piece)
        if size > MAX_ANSWER:
            raise ProtocolError("the answer to a configuration update is too large")
    return b"".join(pieces)
