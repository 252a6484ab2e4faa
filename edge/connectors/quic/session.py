"""A connector's QUIC connection: it opens the control stream and RPC streams, the edge all others (wire.md 3)."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from pyconnector.edge.connectors.calls import RPC_TIMEOUT, RpcFailed, call
from pyconnector.edge.connectors.quic.exchange import open_quic_exchange
from pyconnector.edge.connectors.session import ConnectorSession, PushFailed
from pyconnector.edge.private.datagrams.make import make_link
from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.rpc.conversation import READ_BYTES
from pyconnector.protocol.rpc.edge_rpc import ConfigurationAnswered, EdgeRpcClient, EdgeRpcServer, UdpSessionEnded
from pyconnector.protocol.streams.openings import RPC_SIGNATURE
from pyconnector.transport.errors import TransportError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from typing import Any

    from pyconnector.edge.connectors.exchange import Exchange, TunnelRequest
    from pyconnector.edge.connectors.tunnels import Member
    from pyconnector.edge.private.datagrams.link import DatagramLink
    from pyconnector.edge.tasks import TaskSet
    from pyconnector.transport.seam import Connection, Stream

#: RPC streams that a connector may have open at once.
MAX_RPC_STREAMS = 16

_log = logging.getLogger("pyconnector.edge")


class QuicConnectorSession(ConnectorSession):
    """The QUIC form."""

    protocol = "quic"
    _tasks: TaskSet
    _control: Callable[[Stream], Coroutine[Any, Any, None]]

    def __init__(self, transport: Connection) -> None:
        super().__init__(transport)
        self._rpc_streams = 0
        self._control_seen = False
        self._datagrams: DatagramLink | None = None

    def start(self, tasks: TaskSet, serve_control: Callable[[Stream], Coroutine[Any, Any, None]]) -> None:
        """See `ConnectorSession.start`."""
        self._tasks, self._control = tasks, serve_control
        self.transport.set_stream_handler(self._stream_opened)

    async def open(self, member: Member, request: TunnelRequest, *, body: bytes, finish: bool) -> Exchange:
        """See `Member.open`. Cancel leaves nothing behind."""
        return await open_quic_exchange(member, self.transport, request, body=body, finish=finish)

    async def push(self, version: int, configuration: bytes) -> ConfigurationAnswered:
        """See `ConnectorSession.push`. Cancel abandons the call."""
        client = EdgeRpcClient()
        client.update_configuration(version, configuration)
        try:
            answer = await call(self.transport, client)
        except RpcFailed as exc:
            raise PushFailed(str(exc)) from exc
        assert isinstance(answer, ConfigurationAnswered)
        return answer

    def carry_datagrams(self, features: Sequence[str]) -> DatagramLink | None:
        """See `ConnectorSession.carry_datagrams`."""
        self._datagrams = make_link(self.transport, features)
        return self._datagrams

    def _stream_opened(self, stream: Stream) -> None:
        if not self._control_seen and stream.stream_id == 0:
            self._control_seen = True
            self._tasks.start(self._control(stream), "edge control stream")
        elif self._rpc_streams >= MAX_RPC_STREAMS:
            stream.reset()
            stream.stop()
        else:
            self._rpc_streams += 1
            self._tasks.start(self._serve_rpc(stream), "edge rpc stream")

    async def _serve_rpc(self, stream: Stream) -> None:
        try:
            async with asyncio.timeout(RPC_TIMEOUT):
                await self._answer_rpc(stream)
        except (TimeoutError, TransportError, ProtocolError) as exc:
            _log.info("an RPC stream of %s:%d failed: %r", *self.transport.peer_address[:2], str(exc))
        finally:
            self._rpc_streams -= 1
            stream.stop()
            stream.reset()

    async def _answer_rpc(self, stream: Stream) -> None:
        # A connector says that a UDP session ended (wire.md 11); one that is unknown has ended already: no error.
        data = b""
        while len(data) < len(RPC_SIGNATURE):
            piece = await stream.receive(READ_BYTES)
            if not piece:
                return
            data += piece
        if not data.startswith(RPC_SIGNATURE):
            raise ProtocolError("a stream of the connector does not begin with the RPC signature")
        server = EdgeRpcServer()
        data = data[len(RPC_SIGNATURE) :]
        while True:
            events: Sequence[object] = server.receive_data(data) if data else ()
            for event in events:
                if isinstance(event, UdpSessionEnded):
                    server.answer_udp_end(event.call)
                    if self._datagrams is not None:
                        self._datagrams.ended(event.session_id.bytes, event.message)
            if answer := server.bytes_to_send():
                await stream.send(answer)
            await asyncio.sleep(0)
            data = await stream.receive(READ_BYTES)
            if not data:
                stream.finish()
                return
