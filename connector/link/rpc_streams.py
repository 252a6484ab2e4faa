"""RPC that the edge calls on streams of its own: configuration pushes and UDP sessions (wire.md 10).

One call per stream in practice, though any number is answered within the stream's time.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pyconnector.connector.observe.log import Log, fields
from pyconnector.protocol.rpc.conversation import READ_BYTES
from pyconnector.protocol.rpc.edge_rpc import ConfigurationPushed, EdgeRpcServer, UdpSessionEnded, UdpSessionRequested
from pyconnector.protocol.rpc.registration import ConversationEnded

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.connector.active.orchestrator import Orchestrator
    from pyconnector.connector.datagrams.carrier import DatagramLink
    from pyconnector.connector.observe.counters import Counters
    from pyconnector.transport.seam import Stream

#: What a UDP session request is answered with on a connection that carries no datagrams.
UDP_UNSUPPORTED = "this connection does not carry UDP sessions"


class RpcStreams:
    """Answers the RPC streams of one connection."""

    def __init__(
        self,
        *,
        orchestrator: Orchestrator,
        counters: Counters,
        timeout: float,
        log: Log,
        datagrams: Callable[[], DatagramLink | None] = lambda: None,
    ) -> None:
        self._orchestrator = orchestrator
        self._datagrams = datagrams
        self._counters = counters
        self._timeout = timeout
        self._log = log

    async def serve(self, stream: Stream, leftover: bytes) -> None:
        """Answer calls until the edge ends the stream, or says nothing more for a while.

        Cancel: calls under way go unanswered.

        Raises:
            StreamReset, ConnectionClosed: the edge left.
        """
        server = EdgeRpcServer()
        data, leftover = leftover[:READ_BYTES], leftover[READ_BYTES:]
        try:
            async with asyncio.timeout(self._timeout) as limit:
                while True:
                    for event in server.receive_data(data) if data else ():
                        if isinstance(event, ConversationEnded):
                            self._log.debug("An RPC stream of the edge ended: %s", event.reason)
                            return
                        limit.reschedule(None)  # what this side takes does not count: rules may be many
                        await self._answer(server, event)
                        limit.reschedule(asyncio.get_running_loop().time() + self._timeout)
                    if answer := server.bytes_to_send():
                        await stream.send(answer)
                    await asyncio.sleep(0)  # an edge that floods holds nobody else up
                    if leftover:
                        data, leftover = leftover[:READ_BYTES], leftover[READ_BYTES:]
                        continue
                    data = await stream.receive(READ_BYTES)
                    if not data:
                        return
        except TimeoutError:
            self._log.debug("An RPC stream of the edge was still open after %g s", self._timeout)

    async def _answer(self, server: EdgeRpcServer, event: object) -> None:
        started = asyncio.get_running_loop().time()
        if isinstance(event, ConfigurationPushed):
            calls = self._counters.server_call("config", "update_configuration")
            applied = await self._orchestrator.apply_remote(event.version, event.config)
            server.answer_configuration(event.call, applied.latest_version, applied.error)
        elif isinstance(event, UdpSessionRequested):
            calls = self._counters.server_call("session", "register_udp_session")
            link = self._datagrams()
            if link is None:
                self._log.warning("Refused a UDP session", **fields(reason=UDP_UNSUPPORTED))
                server.answer_udp_session(event.call, error=UDP_UNSUPPORTED)
            else:
                server.answer_udp_session(event.call, error=link.register(event))
        elif isinstance(event, UdpSessionEnded):
            calls = self._counters.server_call("session", "unregister_udp_session")
            link = self._datagrams()
            server.answer_udp_end(event.call, link.unregister(event) if link is not None else "")
        else:
            return
        calls.operations += 1
        calls.latency.observe(asyncio.get_running_loop().time() - started)
