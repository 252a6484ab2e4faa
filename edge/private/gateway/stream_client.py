"""One connection of a gateway's client that carries many flows, each a stream of its own: over HTTP/2 or HTTP/3."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from pyconnector.edge.private.gateway.stream_flow import StreamFlow

if TYPE_CHECKING:
    from pyconnector.edge.private.gateway.server import Gateway
    from pyconnector.transport.http2 import Http2Stream
    from pyconnector.transport.http3 import Http3Stream
    from pyconnector.transport.seam import Address, ConnectionClosedInfo

#: Seconds that a connection may be without a flow.
IDLE_TIMEOUT: Final = 300.0


class FlowConnection(Protocol):
    """A connection of either version."""

    @property
    def peer_address(self) -> Address:
        """Where the client is."""

    @property
    def closed(self) -> ConnectionClosedInfo | None:
        """How it ended; None while it is up."""

    def close(self, code: int = ..., reason: str = ...) -> None:
        """Close at once."""

    async def wait_closed(self) -> ConnectionClosedInfo:
        """Wait until it ended."""


class StreamClient:
    """One client's connection, until it is lost."""

    #: What records say of how its flows came.
    onramp: str

    def __init__(self, owner: Gateway, connection: FlowConnection) -> None:
        self._owner = owner
        self._connection = connection
        self._flows = 0
        self._idle: asyncio.TimerHandle | None = None
        peer = connection.peer_address
        self.source = (str(peer[0]), int(peer[1]))
        owner.tasks.start(self._watch(), f"edge gateway {self.onramp} client")
        self.is_served = owner.joined(self)
        "Whether there is room for it."
        if self.is_served:
            self._look_idle()
        else:
            self.abort()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.source[0]} flows={self._flows}>"

    def abort(self) -> None:
        """Cut the client off."""
        self._connection.close()

    def begin(self, stream: Http2Stream | Http3Stream) -> None:
        """Serve a stream that the client opened."""
        self._flows += 1
        self._look_idle()
        flow = StreamFlow(self._owner, self, stream, self.onramp)
        flow.task = self._owner.tasks.start(flow.run(), f"edge gateway {self.onramp} flow")

    def ended(self, *, taken_back: bool) -> None:
        """A flow is over, perhaps because the client took it back."""
        self._flows -= 1
        self._look_idle()

    async def _watch(self) -> None:
        try:
            await self._connection.wait_closed()
        finally:
            self._owner.left(self)
            if self._idle is not None:
                self._idle.cancel()

    def _look_idle(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if not self._flows and self._connection.closed is None:
            self._idle = asyncio.get_running_loop().call_later(IDLE_TIMEOUT, self.abort)
