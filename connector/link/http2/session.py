"""A connection over HTTP/2 as a `Session`: the edge opens every stream, the control stream too (wire.md 14).

What a stream is for stands in its head. Each request has a task; what HTTP/2 does not carry is never asked for.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from pyconnector.connector.link.http2.configuration import answer_update
from pyconnector.connector.link.http2.exchange import Http2Exchange
from pyconnector.connector.link.session import HTTP2, Session
from pyconnector.connector.requests.running import RunningRequests
from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.http.http2_form import Kind, kind_of
from pyconnector.transport.buffers.connection import ACCEPT_QUEUE
from pyconnector.transport.errors import ConnectionClosed, TransportError
from pyconnector.transport.http2 import Http2Stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.connector.active.orchestrator import Orchestrator
    from pyconnector.connector.observe.counters import Counters
    from pyconnector.connector.observe.log import Log
    from pyconnector.connector.requests.path import RequestPath
    from pyconnector.transport.http2 import Http2Connection
    from pyconnector.transport.seam import Stream

#: Seconds that the edge has to ask for the control stream.
CONTROL_TIMEOUT = 10.0


class Http2Session(Session):
    """The HTTP/2 form."""

    protocol = HTTP2
    connection: Http2Connection

    def __init__(
        self,
        connection: Http2Connection,
        path: RequestPath,
        *,
        orchestrator: Orchestrator,
        counters: Counters,
        rpc_timeout: float,
        log: Log,
    ) -> None:
        super().__init__(connection, RunningRequests(log))
        self._path = path
        self._orchestrator = orchestrator
        self._counters = counters
        self._rpc_timeout = rpc_timeout
        self._log = log
        self._serving = False
        self._early: list[Http2Stream] = []
        self._control: asyncio.Future[Http2Stream] = asyncio.get_running_loop().create_future()
        connection.set_stream_handler(self._accept)

    @property
    def origin_ip(self) -> str:
        """See `Session.origin_ip`."""
        return self.connection.local_address[0]

    async def control_stream(self) -> Stream:
        """See `Session.control_stream`. Cancel at any time."""
        closed = asyncio.ensure_future(self.connection.wait_closed())
        try:
            await asyncio.wait((self._control, closed), timeout=CONTROL_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
        finally:
            closed.cancel()
        if self._control.done():
            return self._control.result()
        if self.connection.closed is not None:
            raise self.connection.closed_error()
        raise ConnectionClosed(f"the edge asked for no control stream within {CONTROL_TIMEOUT:g} s", local=True)

    def serve(self) -> None:
        """See `Session.serve`. What the edge sent since it accepted the registration is served first."""
        self._serving = True
        waiting, self._early = self._early, []
        for stream in waiting:
            self._accept(stream)

    async def delivered(self) -> None:
        """See `Session.delivered`: the edge answers a PING once it has read all that was sent before.

        Cancel at any time.
        """
        await super().delivered()
        try:
            await self.connection.ping()
        except ConnectionClosed:
            pass  # it closed the connection, as the reference's edge does once it heard

    def _accept(self, stream: Stream) -> None:
        assert isinstance(stream, Http2Stream)
        kind = kind_of(stream.head or [])
        if kind is Kind.CONTROL and not self._control.done():
            stream.send_head([(b":status", b"200")])
            self._control.set_result(stream)
        elif not self._serving and kind is not Kind.CONTROL and len(self._early) < ACCEPT_QUEUE:
            self._early.append(stream)
        elif not self._serving or kind is Kind.CONTROL:
            stream.reset()
            stream.stop()
        elif kind is not Kind.UPDATE and (reason := self.running.refusal):
            self._path.refuse(Http2Exchange(stream, kind), reason)
            stream.stop()
        else:
            task = self.running.start(self._serve(stream, kind), "edge stream")
            stream.set_abort_callback(cast("Callable[[], None]", task.cancel))

    async def _serve(self, stream: Http2Stream, kind: Kind) -> None:
        try:
            if kind is Kind.UPDATE:
                await answer_update(stream, self._orchestrator, self._counters, self._rpc_timeout)
            else:
                await self._path.serve(Http2Exchange(stream, kind))
            stream.finish()
            stream.stop()
        except BaseException as error:
            stream.reset()
            stream.stop()
            if isinstance(error, ProtocolError):
                self._log.warning("Refused a stream: %s", error)
            elif not isinstance(error, TransportError):
                raise
        finally:
            stream.set_abort_callback(None)
