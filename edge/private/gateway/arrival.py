"""Which HTTP a client of the gateway speaks, told from the first bytes of its connection: HTTP/2's preface, or CONNECT
over HTTP/1.1."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from pyconnector.edge.private.gateway import client
from pyconnector.edge.private.gateway.http2_client import SETTINGS, Http2Client
from pyconnector.edge.visitors.sockets import reset_connection
from pyconnector.protocol.proxying.http_connect import HttpConnect
from pyconnector.transport.http2 import Http2Socket
from pyconnector.web.http2.frames import PREFACE

if TYPE_CHECKING:
    from pyconnector.edge.private.gateway.server import Gateway
    from pyconnector.transport.http2 import Http2Connection


class HttpArrival(asyncio.Protocol):
    """Stands in until it is known which protocol the socket gets. Who says nothing is cut off."""

    def __init__(self, owner: Gateway) -> None:
        self._owner = owner
        self._seen = b""

    def __repr__(self) -> str:
        return f"<HttpArrival {len(self._seen)} bytes>"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client came."""
        self._transport = cast("asyncio.Transport", transport)
        self._limit = asyncio.get_running_loop().call_later(client.HANDSHAKE_TIMEOUT, self.abort)
        if not self._owner.joined(self):
            self.abort()

    def data_received(self, data: bytes) -> None:
        """Decide as soon as it can be decided, and hand over."""
        data = self._seen + data
        if len(data) < len(PREFACE) and PREFACE.startswith(data):
            self._seen = data
            return
        chosen: Http2Socket | client.GatewayClient
        if data.startswith(PREFACE):
            chosen = Http2Socket(
                client=False, settings=SETTINGS, later=self._owner.turns.add,
                on_connection=self._serve,
            )  # fmt: skip
        else:
            chosen = client.GatewayClient(self._owner, HttpConnect(), "http-connect")
        self._leave()
        chosen.connection_made(self._transport)
        self._transport.set_protocol(chosen)
        chosen.data_received(data)

    def _serve(self, connection: Http2Connection) -> None:
        Http2Client(self._owner, connection)

    def eof_received(self) -> bool:
        """The client left without a request."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._leave()

    def abort(self) -> None:
        """Cut the client off."""
        reset_connection(self._transport)

    def _leave(self) -> None:
        self._limit.cancel()
        self._owner.left(self)
