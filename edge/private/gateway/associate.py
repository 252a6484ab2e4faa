"""UDP of one SOCKS5 client (RFC 1928 section 7): a socket for it, and a flow for each destination.

Packets of anybody but the client are dropped, and so are fragments. Each destination is judged and recorded as a flow
of its own.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from pyconnector.edge.private.gateway.judge import Refused
from pyconnector.edge.private.gateway.records import CloseReason, FlowRecord
from pyconnector.edge.private.network import Unreachable
from pyconnector.protocol.proxying.handshake import HandshakeError, Verdict
from pyconnector.protocol.proxying.socks5 import decode_udp, encode_udp

if TYPE_CHECKING:
    from pyconnector.edge.private.gateway.server import Gateway
    from pyconnector.edge.private.udp import PrivateUdp

#: Destinations of one client at once.
MAX_DESTINATIONS: Final = 64
#: Packets that wait while a destination is judged and reached.
MAX_WAITING: Final = 16
#: Seconds for which a destination that was refused, or not reached, is not tried again.
REFUSED_SECONDS: Final = 5.0
#: Packets that are read in one turn of the loop.
READS_PER_TURN: Final = 32
_BUFFER: Final = 65_535


class _Flow:
    """One destination of an association."""

    def __init__(self, owner: Association, record: FlowRecord) -> None:
        self.owner = owner
        self.record = record
        self.flow: PrivateUdp | None = None
        self.waiting: deque[bytes] = deque(maxlen=MAX_WAITING)
        self.task: asyncio.Task[None] | None = None

    def cut_off(self, reason: CloseReason, detail: str) -> None:
        """See `RunningFlow.cut_off`."""
        self.owner.end(self, reason, detail)


class Association:
    """The UDP of one client, from `open` to `close`."""

    def __init__(self, gateway: Gateway, record: FlowRecord, virtual_network: str) -> None:
        self.dropped = 0
        self._gateway = gateway
        self._template = record
        self._virtual_network = virtual_network
        self._client_host = ipaddress.ip_address(record.source[0].partition("%")[0])
        self._client: Any = None
        self._flows: dict[tuple[str, int], _Flow] = {}
        self._socket: socket.socket | None = None
        self._refused: dict[tuple[str, int], float] = {}

    def __repr__(self) -> str:
        return f"<Association flows={len(self._flows)} dropped={self.dropped}>"

    def open(self, host: str) -> tuple[str, int]:
        """Bind a socket for the client at `host`, and return where.

        Raises:
            Refused: there is none.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            sock = socket.socket(family, socket.SOCK_DGRAM)
            sock.setblocking(False)
            sock.bind((host, 0))
        except OSError as exc:
            raise Refused(Verdict.BUSY, CloseReason.UNKNOWN, f"No UDP socket can be had: {exc.strerror}.") from exc
        self._socket = sock
        asyncio.get_running_loop().add_reader(sock, self._on_readable)
        bound = sock.getsockname()
        return str(bound[0]), int(bound[1])

    def close(self) -> None:
        """End every flow: the client closed its connection. Idempotent."""
        for flow in tuple(self._flows.values()):
            self.end(flow, CloseReason.CLIENT_CLOSED, "")
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def end(self, flow: _Flow, reason: CloseReason, detail: str) -> None:
        """End one flow, with its record. Idempotent."""
        if self._flows.get(flow.record.wanted) is not flow:
            return
        del self._flows[flow.record.wanted]
        if flow.task is not None and flow.task is not asyncio.current_task():
            flow.task.cancel()
        if flow.flow is not None:
            flow.record.sent, flow.record.received = flow.flow.sent, flow.flow.received
            flow.flow.close()
        self._gateway.judge.ended(flow)
        flow.record.reason, flow.record.detail = reason, detail
        self._gateway.records.write(flow.record)

    def _on_readable(self) -> None:
        for _ in range(READS_PER_TURN):
            if self._socket is None:
                return
            try:
                data, peer = self._socket.recvfrom(_BUFFER)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                continue  # what the network says of an earlier packet
            self._packet(data, peer)

    def _packet(self, data: bytes, peer: Any) -> None:
        if self._client is None and ipaddress.ip_address(str(peer[0]).partition("%")[0]) == self._client_host:
            self._client = peer  # who sends first from the client's address
        if peer != self._client:
            self.dropped += 1
            return
        try:
            found = decode_udp(data)
        except HandshakeError:
            found = None
        if found is None:
            self.dropped += 1
            return
        host, port, payload = found
        flow = self._flows.get((host, port))
        if flow is not None and flow.flow is not None:
            flow.flow.send(payload)
        elif flow is not None:
            flow.waiting.append(payload)
        elif len(self._flows) >= MAX_DESTINATIONS or self._is_refused(host, port):
            self.dropped += 1
        else:
            template = self._template
            record = self._gateway.new_record(template.onramp, (str(peer[0]), int(peer[1])), protocol="udp")
            record.wanted, record.identified, record.claimed = (host, port), template.identified, template.claimed
            flow = self._flows[host, port] = _Flow(self, record)
            flow.waiting.append(payload)
            flow.task = self._gateway.tasks.start(self._reach(flow), "edge gateway udp flow")

    async def _reach(self, flow: _Flow) -> None:
        judge, (host, port) = self._gateway.judge, flow.record.wanted
        try:
            destination = await judge.admit(flow.record, host, port, self._virtual_network)
            judge.started(flow)
            answers_from = str(destination.address)

            def arrived(data: bytes) -> None:
                self._to_client(encode_udp(answers_from, port, data))

            flow.flow = await judge.network.open_udp(
                destination,
                on_data=arrived,
                on_end=lambda reason: self.end(
                    flow, CloseReason.IDLE if reason == "idle" else CloseReason.ORIGIN_ERROR, reason
                ),
                first=flow.waiting.popleft(),
            )
        except Refused as refused:
            flow.record.verdict = refused.code
            self._refuse(flow, refused.reason, str(refused))
        except Unreachable as exc:
            self._refuse(flow, CloseReason.UNREACHABLE, str(exc))
        else:
            flow.record.connector_id = str(flow.flow.connector_id or "")
            while flow.waiting:
                flow.flow.send(flow.waiting.popleft())

    def _refuse(self, flow: _Flow, reason: CloseReason, detail: str) -> None:
        if len(self._refused) >= MAX_DESTINATIONS:
            self._refused.clear()
        self._refused[flow.record.wanted] = asyncio.get_running_loop().time() + REFUSED_SECONDS
        self.end(flow, reason, detail)

    def _is_refused(self, host: str, port: int) -> bool:
        return self._refused.get((host, port), 0.0) > asyncio.get_running_loop().time()

    def _to_client(self, data: bytes) -> None:
        if self._socket is None or self._client is None:
            return
        try:
            self._socket.sendto(data, self._client)
        except OSError:
            self.dropped += 1
