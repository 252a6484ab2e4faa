"""Serves the requests of other edges, with the connections of connectors that are held here and no others: one hop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast
from uuid import UUID

from pyconnector.edge.connectors.exchange import (
    PIECE,
    Broken,
    Exchange,
    NoTunnel,
    Refused,
    TunnelRequest,
    open_exchange,
)
from pyconnector.edge.listener import Listener
from pyconnector.edge.mesh.exchange import TUNNEL, failure
from pyconnector.edge.mesh.flows import UDP, serve_flow
from pyconnector.edge.tasks import TaskSet
from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.http import http2_form as form
from pyconnector.protocol.http.http2_form import Kind
from pyconnector.protocol.streams.connect import ConnectionType
from pyconnector.transport.errors import TransportError
from pyconnector.transport.http2 import Http2Connection, Http2Settings, Http2Socket, Http2Stream

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from pyconnector.edge.connectors.tunnels import Tunnel, Tunnels
    from pyconnector.edge.settings import HostPort
    from pyconnector.transport.seam import Stream

#: Connections of other edges at once.
MAX_CONNECTIONS = 1000
SETTINGS = Http2Settings(keepalive=1.0, idle_timeout=5.0)
_KINDS = {
    Kind.HTTP: ConnectionType.HTTP, Kind.WEBSOCKET: ConnectionType.WEBSOCKET, Kind.TCP: ConnectionType.TCP,
}  # fmt: skip


class PeerServer:
    """Listens for other edges from `start` to `close`."""

    def __init__(
        self, tunnels: Tunnels, context: ssl.SSLContext, later: Callable[[Callable[[], None]], object]
    ) -> None:
        self._tunnels = tunnels
        self._later = later
        self._tasks = TaskSet()
        self._connections: set[Http2Connection] = set()
        self._listener = Listener(self._socket, "other edges", tls=context)

    def __repr__(self) -> str:
        return f"<PeerServer connections={len(self._connections)} requests={len(self._tasks)}>"

    async def start(self, address: HostPort) -> HostPort:
        """Listen, and return where. Cancel leaves nothing open.

        Raises:
            OSError: the address is taken or not ours.
        """
        return await self._listener.start(*address)

    async def close(self) -> None:
        """Stop listening and cut every request off. Idempotent. Cancel leaves some of them ending."""
        self._listener.close()
        await self._listener.wait_closed()
        for connection in tuple(self._connections):
            connection.close(0, "the edge stops")
        await self._tasks.cancel_all()

    def _socket(self) -> Http2Socket:
        return Http2Socket(client=False, settings=SETTINGS, on_connection=self._accept, later=self._later)

    def _accept(self, connection: Http2Connection) -> None:
        if len(self._connections) >= MAX_CONNECTIONS:
            connection.close(0, "too many connections")
            return
        self._connections.add(connection)
        connection.set_stream_handler(self._begin)
        self._tasks.start(self._watch(connection), "edge peer connection")

    async def _watch(self, connection: Http2Connection) -> None:
        try:
            await connection.wait_closed()
        finally:
            self._connections.discard(connection)

    def _begin(self, stream: Stream) -> None:
        self._tasks.start(self._run(cast("Http2Stream", stream)), "edge peer request")

    async def _run(self, stream: Http2Stream) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        stream.set_abort_callback(cast("Callable[[], None]", task.cancel))
        try:
            await self._serve(stream)
        except (TransportError, ProtocolError):
            stream.reset()
            stream.stop()
        except BaseException:
            stream.reset()
            stream.stop()
            raise

    async def _serve(self, stream: Http2Stream) -> None:
        fields = list(stream.head or [])
        named = form.first(fields, TUNNEL)
        fields = [field for field in fields if field[0] != TUNNEL]
        kind = _KINDS.get(form.kind_of(fields))
        if kind is None:
            raise ProtocolError("another edge asked for something that is no request")
        try:
            tunnel = self._tunnels.get(UUID(named.decode("ascii")))
        except ValueError as error:
            raise ProtocolError("another edge named no tunnel") from error
        exchange: Exchange | None = None
        try:
            if kind is ConnectionType.TCP and form.first(fields, UDP):
                await self._serve_flow(tunnel, stream, fields)
                return
            request = _request(fields, kind, ended=stream.bodiless)
            # Never by way of a third edge: what is not here is told, so that no loop can begin.
            exchange = await open_exchange(
                tunnel, request, finish=stream.bodiless and kind is ConnectionType.HTTP, here_alone=True
            )
            await self._carry(stream, exchange, request, fields)
        except (NoTunnel, Broken, Refused) as error:
            stream.send_head(failure(error))
            stream.finish()
            stream.stop()
        finally:
            if exchange is not None:
                exchange.abort()

    async def _serve_flow(self, tunnel: Tunnel | None, stream: Http2Stream, fields: form.Fields) -> None:
        from pyconnector.edge.private.datagrams.link import OpenFailed  # only where there are private networks

        if tunnel is None:
            raise NoTunnel
        try:
            await serve_flow(tunnel, stream, fields, self._tasks)
        except OpenFailed as error:
            raise Broken(str(error)) from error

    async def _carry(
        self, stream: Http2Stream, exchange: Exchange, request: TunnelRequest, fields: form.Fields
    ) -> None:
        upload = self._tasks.start(_upload(stream, exchange), "edge peer upload")
        try:
            response = await exchange.response()
            if request.kind is ConnectionType.TCP:
                stream.send_head(form.acknowledgement_fields(fields))
            else:
                stream.send_head(form.response_fields(response.status, response.headers))
            piece = exchange.leftover
            if piece:
                await stream.send(piece)
            while piece := await exchange.body.receive(PIECE):
                await stream.send(piece)
            if request.takes_trailers and exchange.trailers:
                stream.send_trailers(form.trailer_fields(exchange.trailers))
            else:
                stream.finish()
            if request.kind is not ConnectionType.HTTP:
                await upload  # half of a tunnel may go on
            exchange.close()
            stream.stop()
        finally:
            upload.cancel()


def _request(fields: form.Fields, kind: ConnectionType, *, ended: bool) -> TunnelRequest:
    if kind is ConnectionType.TCP:
        return TunnelRequest(kind=kind, destination=form.tcp_destination(fields))
    head = form.read_request(fields, form.kind_of(fields), ended=ended)
    trailers = any(name.lower() == b"te" and b"trailers" in value for name, value in head.headers)
    return TunnelRequest(kind=kind, head=head, takes_trailers=trailers)


async def _upload(stream: Http2Stream, exchange: Exchange) -> None:
    """Pass the body on, or one direction of a tunnel, to its end."""
    try:
        while piece := await stream.receive(PIECE):
            await exchange.stream.send(piece)
        exchange.stream.finish()
    except TransportError:
        pass  # the service wants no more of it, or the visitor left, which the other direction is told too
