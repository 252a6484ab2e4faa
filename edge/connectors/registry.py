"""Every connection of a connector that an edge holds, registered or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyconnector.edge.connectors.connection import EdgeConnection
from pyconnector.edge.connectors.http2.session import Http2ConnectorSession
from pyconnector.edge.connectors.quic.session import QuicConnectorSession
from pyconnector.edge.tasks import TaskSet
from pyconnector.transport.http2 import Http2Connection

if TYPE_CHECKING:
    from uuid import UUID

    from pyconnector.edge.connectors.session import ConnectorSession
    from pyconnector.edge.connectors.tunnels import Tunnels
    from pyconnector.edge.faults.refusals import Refusals
    from pyconnector.transport.seam import Connection


class Connectors:
    """Accepts connections, runs each, and knows them by id."""

    def __init__(self, *, tunnels: Tunnels, refusals: Refusals, location: str, limit: int) -> None:
        self._tunnels = tunnels
        self._refusals = refusals
        self._location = location
        self._limit = limit
        self._by_id: dict[UUID, EdgeConnection] = {}
        self._tasks = TaskSet()

    def __repr__(self) -> str:
        return f"<Connectors connections={len(self._by_id)}>"

    def accept(self, transport: Connection) -> None:
        """Take a connection whose handshake is complete; one too many is closed."""
        if len(self._by_id) >= self._limit:
            transport.close(0, "too many connections")
            return
        session: ConnectorSession
        if isinstance(transport, Http2Connection):
            session = Http2ConnectorSession(transport)
        else:
            session = QuicConnectorSession(transport)
        connection = EdgeConnection(session, tunnels=self._tunnels, refusals=self._refusals, location=self._location)
        self._by_id[connection.connection_id] = connection
        self._tasks.start(self._run(connection), f"edge connection {connection.connection_id}")

    def all(self) -> list[EdgeConnection]:
        """Return every connection, oldest first."""
        return list(self._by_id.values())

    def get(self, connection_id: UUID) -> EdgeConnection | None:
        """Return the connection of that id."""
        return self._by_id.get(connection_id)

    async def close(self) -> None:
        """Close every connection. Idempotent. Cancel leaves them closed, but their tasks not waited for."""
        for connection in self.all():
            connection.close("the edge stops")
        await self._tasks.cancel_all()
        self._by_id.clear()

    async def _run(self, connection: EdgeConnection) -> None:
        try:
            await connection.run()
        finally:
            self._by_id.pop(connection.connection_id, None)
