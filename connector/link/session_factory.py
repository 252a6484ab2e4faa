"""Connects one attempt over its protocol, and puts the request path of its index behind the connection."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyconnector.connector.link.quic.data_streams import DataStreams
from pyconnector.connector.link.quic.session import QuicSession
from pyconnector.connector.link.session import HTTP2
from pyconnector.connector.observe.log import HTTP, Log
from pyconnector.connector.requests.path import RequestPath

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from pyconnector.connector.active.orchestrator import Orchestrator
    from pyconnector.connector.datagrams.carrier import DatagramLink
    from pyconnector.connector.link.edge_connection import Plan
    from pyconnector.connector.link.http2.session import Http2Session
    from pyconnector.connector.link.session import Session
    from pyconnector.connector.management.access import Management
    from pyconnector.connector.observe.counters import Counters
    from pyconnector.connector.observe.observer import Observer
    from pyconnector.origins.base import Headers
    from pyconnector.transport.http2 import Http2Connection
    from pyconnector.transport.seam import Connection, Stream


@dataclass(slots=True, kw_only=True, eq=False, repr=False)
class SessionFactory:
    """What the sessions of one connector share."""

    orchestrator: Orchestrator
    counters: Counters
    added_headers: Headers
    "Given to every request."
    rpc_timeout: float
    "Seconds for one call of the edge."
    dial_quic: Callable[[Plan], Awaitable[Connection]]
    make_datagrams: Callable[[int, Connection, Sequence[str]], DatagramLink]
    "Serves the datagrams of the connection of an index, which registered with these features."
    dial_http2: Callable[[Plan], Awaitable[Http2Connection]]
    observer: Observer | None = None
    "Told of every request."
    management: Management | None = None
    write_timeout: float = 0.0

    async def connect(self, plan: Plan) -> Session:
        """Connect as `plan` says. Cancel leaves nothing open.

        Raises:
            ConnectFailed: no connection came to be.
        """
        if plan.protocol == HTTP2:
            return self.http2_session(await self.dial_http2(plan), plan.index)
        return self.quic_session(await self.dial_quic(plan), plan.index)

    def quic_session(self, connection: Connection, index: int) -> QuicSession:
        """Return the session of a QUIC connection."""
        log = Log("request", {"connIndex": index}, kind=HTTP)

        async def serve_rpc(stream: Stream, leftover: bytes) -> None:
            # With its codecs only where an edge calls: few do.
            from pyconnector.connector.link.rpc_streams import RpcStreams

            rpc = RpcStreams(
                orchestrator=self.orchestrator,
                counters=self.counters,
                timeout=self.rpc_timeout,
                log=log,
                datagrams=session.datagrams,
            )
            await rpc.serve(stream, leftover)

        streams = DataStreams(self._path(index, log), serve_rpc=serve_rpc, log=log)
        session = QuicSession(connection, streams, functools.partial(self.make_datagrams, index))
        return session

    def http2_session(self, connection: Http2Connection, index: int) -> Http2Session:
        """Return the session of an HTTP/2 connection."""
        # Loaded where it is used: its library takes a while, and QUIC does without.
        from pyconnector.connector.link.http2.session import Http2Session

        log = Log("request", {"connIndex": index}, kind=HTTP)
        return Http2Session(
            connection,
            self._path(index, log),
            orchestrator=self.orchestrator,
            counters=self.counters,
            rpc_timeout=self.rpc_timeout,
            log=log,
        )

    def _path(self, index: int, log: Log) -> RequestPath:
        path = RequestPath(
            orchestrator=self.orchestrator,
            counters=self.counters,
            added_headers=self.added_headers,
            log=log,
            index=index,
            observer=self.observer,
        )
        path.management = self.management
        path.write_timeout = self.write_timeout
        return path
