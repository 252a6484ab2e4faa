"""Which HTTP a visitor speaks, told from the first bytes of its connection: HTTP/2's preface, or anything else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from pyconnector.edge.visitors.http1.connection import VisitorConnection
from pyconnector.edge.visitors.http2 import Http2Visitor
from pyconnector.web.http2.frames import PREFACE

if TYPE_CHECKING:
    from pyconnector.edge.visitors.server import VisitorServer


class FirstBytes(asyncio.Protocol):
    """Stands in until it is known which protocol the socket gets. Until then it behaves as HTTP/1.1 does."""

    def __init__(self, server: VisitorServer) -> None:
        self._server = server
        self._http1 = VisitorConnection(server)
        self._seen = b""

    def __repr__(self) -> str:
        return f"<FirstBytes {len(self._seen)} bytes>"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A visitor came."""
        self._socket = cast("asyncio.Transport", transport)
        self._http1.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Decide as soon as it can be decided, and hand over."""
        data = self._seen + data
        if len(data) < len(PREFACE) and PREFACE.startswith(data):
            self._seen = data
            return
        chosen: asyncio.Protocol = self._http1
        if data.startswith(PREFACE):
            self._server.left(self._http1)
            chosen = Http2Visitor(self._server)
            chosen.connection_made(self._socket)
        self._socket.set_protocol(chosen)
        chosen.data_received(data)

    def eof_received(self) -> bool:
        """The visitor left without a request."""
        return self._http1.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._http1.connection_lost(exc)
