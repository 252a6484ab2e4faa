"""The seam between a connector's connection at the edge and the form of the tunnel protocol that it speaks.

One form for QUIC (`edge.connectors.quic.session`), one for HTTP/2 (`edge.connectors.http2.session`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from typing import Any

    from pyconnector.edge.connectors.exchange import Exchange, TunnelRequest
    from pyconnector.edge.connectors.tunnels import Member
    from pyconnector.edge.private.datagrams.link import DatagramLink
    from pyconnector.edge.tasks import TaskSet
    from pyconnector.protocol.rpc.edge_rpc import ConfigurationAnswered
    from pyconnector.transport.seam import Connection, Stream


class PushFailed(Exception):
    """A configuration did not reach the connector, or it did not answer. The text is one sentence."""


class ConnectorSession(ABC):
    """One connection of a connector, as the edge uses it."""

    protocol: str
    "`quic` or `http2`."

    def __init__(self, transport: Connection) -> None:
        self.transport = transport

    @abstractmethod
    def start(self, tasks: TaskSet, serve_control: Callable[[Stream], Coroutine[Any, Any, None]]) -> None:
        """Serve what the connector opens, in tasks of `tasks`; the control stream by `serve_control`. Called once."""

    @abstractmethod
    async def open(self, member: Member, request: TunnelRequest, *, body: bytes, finish: bool) -> Exchange:
        """See `Member.open`. Cancel leaves nothing behind."""

    def carry_datagrams(self, features: Sequence[str]) -> DatagramLink | None:
        """Return what carries datagrams for a connector with these features; None where none can go."""
        return None

    @abstractmethod
    async def push(self, version: int, configuration: bytes) -> ConfigurationAnswered:
        """Send a configuration once, and return the answer. Cancel abandons the call.

        Raises:
            PushFailed: there was no answer.
        """
