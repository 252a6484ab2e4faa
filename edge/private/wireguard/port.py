"""The UDP port of one device: who comes in there is that device, for its keys alone fit.

Each flow must have the device's Mesh address as its source; the library checks none (mesh.md 5).
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Final

from pyconnector.edge.access.identify import Identified
from pyconnector.edge.private.device_dns.dns import MAX_QUERY, answer_query
from pyconnector.edge.private.device_dns.name_addresses import NameAddresses
from pyconnector.edge.private.gateway.judge import Refused, note_refusal
from pyconnector.edge.private.gateway.records import CloseReason
from pyconnector.edge.private.wireguard.flow import PIECE, close_refused, close_stream
from pyconnector.edge.private.wireguard.library import open_port
from pyconnector.edge.private.wireguard.tcp_flow import TcpFlow
from pyconnector.edge.private.wireguard.udp_flow import MAX_EMPTY, UdpFlow
from pyconnector.edge.tasks import TaskSet
from pyconnector.protocol.proxying.handshake import Connect, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.edge.access.devices import DeviceEntry, WireGuardEntry
    from pyconnector.edge.private.gateway.records import FlowRecord
    from pyconnector.edge.private.gateway.server import Gateway
    from pyconnector.edge.private.wireguard.library import DeviceStream, PortServer

#: Flows of a device at once, and places from which it asks DNS.
MAX_FLOWS: Final = 256
MAX_ASKING: Final = 64
#: TCP connections that a device may begin within the time for which the library holds a refused one: each takes
#: 128 KiB there, so that more of them close the port for a moment, and with it all that it holds.
MAX_BEGUN: Final = 2_048
BEGUN_SECONDS: Final = 60.0
#: Seconds for the ends of TCP connections to be sent before the port is closed.
FAREWELL: Final = 0.2
#: Seconds for a device to ask over TCP.
DNS_TIMEOUT: Final = 10.0
DNS_PORT: Final = 53


class DevicePort:
    """From `open` to `close`."""

    def __init__(self, gateway: Gateway, device: DeviceEntry, on_overrun: Callable[[], None]) -> None:
        self.device = device
        self.overrun = False
        "Whether the device began so many connections that its port has to be opened anew."
        self._gateway = gateway
        self._on_overrun = on_overrun
        self._flows = self._asking = 0
        self._names = NameAddresses(self._wireguard.name_range)
        self._begun: deque[float] = deque()
        self._tasks = TaskSet()
        self._server: PortServer | None = None

    def __repr__(self) -> str:
        return f"<DevicePort of {self.device.name} flows={self._flows} names={len(self._names)}>"

    @property
    def _wireguard(self) -> WireGuardEntry:
        assert self.device.wireguard is not None
        return self.device.wireguard

    async def open(self, host: str) -> tuple[str, int]:
        """Listen, and return where. Cancel leaves it to `close`.

        Raises:
            OSError: the port is taken or not ours.
        """
        keys = self._wireguard
        self._server = await open_port((host, keys.port), keys.server_key, keys.public_key, self._on_tcp, self._on_udp)
        return self._server.getsockname()

    async def close(self) -> None:
        """End every flow and close the port. Idempotent. Cancel leaves the port closing."""
        had_flows = bool(len(self._tasks))
        await self._tasks.cancel_all()
        server, self._server = self._server, None
        if server is None:
            return
        try:
            if had_flows:
                await asyncio.sleep(FAREWELL)
        finally:
            server.close()
        await server.wait_closed()

    async def _on_tcp(self, stream: DeviceStream) -> None:
        self._begin(stream, "tcp")

    async def _on_udp(self, stream: DeviceStream) -> None:
        self._begin(stream, "udp")

    def _begin(self, stream: DeviceStream, protocol: str) -> None:
        """Take what the device begins; a task of ours carries it."""
        if self._server is None or self.overrun:
            close_stream(stream)
            return
        (host, port), source = stream.get_extra_info("sockname")[:2], stream.get_extra_info("peername")
        if protocol == "tcp":
            self._count_begun()
        is_own = source[0] == str(self.device.address)
        if is_own and (host, port) == (str(self._wireguard.dns_address), DNS_PORT):
            self._tasks.start(self._answer(stream, protocol), "edge wireguard dns")
            return
        record = self._record(stream, protocol, (host, port))
        flow = TcpFlow(self._gateway, stream, record) if protocol == "tcp" else UdpFlow(self._gateway, stream, record)
        try:
            request = self._request(record, source[0])
        except Refused as refused:
            note_refusal(record, refused)
            self._gateway.records.write(record)
            if protocol == "tcp":
                self._tasks.start(close_refused(stream), "edge wireguard refusal")
            else:
                close_stream(stream)
            return
        self._flows += 1
        flow.task = self._tasks.start(flow.run(request), f"edge wireguard {protocol} flow")
        flow.task.add_done_callback(self._flow_ended)

    def _record(self, stream: DeviceStream, protocol: str, wanted: tuple[str, int]) -> FlowRecord:
        record = self._gateway.new_record("wireguard", stream.get_extra_info("original_src")[:2], protocol=protocol)
        record.wanted, record.device = wanted, self.device
        token = self._gateway.judge.gate.state.token(self.device.token_id)
        if token is not None:
            record.identified = Identified(token=token, expires=math.inf if token.expires is None else token.expires)
        return record

    def _request(self, record: FlowRecord, source: str) -> Connect:
        """Return what a flow asks for.

        Raises:
            Refused: it may not even ask.
        """
        judge = self._gateway.judge
        if record.token is None or not record.token.lives(judge.gate.clock()):
            raise Refused(Verdict.UNAUTHENTICATED, CloseReason.REFUSED, "The token has been revoked.", "revoked")
        judge.gate.state.note_use(record.token, judge.gate.ticks())
        if source != str(self.device.address):
            judge.count_new(record)
            raise Refused(
                Verdict.FORBIDDEN, CloseReason.REFUSED, f"The source {source} is not the Mesh address of this device.",
                "spoofed_source",
            )  # fmt: skip
        if self._flows >= MAX_FLOWS:
            judge.count_new(record)
            raise Refused(
                Verdict.BUSY, CloseReason.TOO_MANY, f"This device has {MAX_FLOWS} flows already.", "too_many_flows"
            )
        host, port = record.wanted
        if ":" not in host and (address := IPv4Address(host)) in self._wireguard.name_range:
            name = self._names.name_of(address, self._now())
            if name is None:
                judge.count_new(record)
                raise Refused(Verdict.UNROUTABLE, CloseReason.UNROUTABLE, f"{host} stands for no name.", "no_such_name")
            host = name
            record.wanted = (name, port)
        return Connect(host, port, protocol=record.protocol)

    def _flow_ended(self, _: asyncio.Task[None]) -> None:
        self._flows -= 1

    def _count_begun(self) -> None:
        now = self._now()
        while self._begun and self._begun[0] <= now - BEGUN_SECONDS:
            self._begun.popleft()
        self._begun.append(now)
        if len(self._begun) > MAX_BEGUN and not self.overrun:
            self.overrun = True
            self._on_overrun()

    # -- DNS -----------------------------------------------------------------------------------------------------

    async def _answer(self, stream: DeviceStream, protocol: str) -> None:
        self._asking += 1
        try:
            if protocol == "udp":
                await self._answer_packets(stream)
            else:
                async with asyncio.timeout(DNS_TIMEOUT):
                    await self._answer_stream(stream)
        except (OSError, TimeoutError):
            return  # the device is gone, or silent
        finally:
            self._asking -= 1
            close_stream(stream)

    async def _answer_packets(self, stream: DeviceStream) -> None:
        empty = 0
        while empty < MAX_EMPTY:
            data = await stream.read(MAX_QUERY)
            empty = 0 if data else empty + 1
            if data and (answer := self._answer_to(data)) is not None:
                stream.write(answer)
            if self._asking > MAX_ASKING:
                return

    async def _answer_stream(self, stream: DeviceStream) -> None:
        """Answer one question after the other, each behind its length (RFC 1035 4.2.2)."""
        held = b""
        while data := await stream.read(PIECE):
            held += data
            while len(held) >= 2 and len(held) >= (size := int.from_bytes(held[:2], "big")) + 2:
                answer = self._answer_to(held[2 : size + 2])
                held = held[size + 2 :]
                if answer is None:
                    return
                stream.write(len(answer).to_bytes(2, "big") + answer)
                await stream.drain()
            if len(held) > MAX_QUERY or self._asking > MAX_ASKING:
                return

    def _answer_to(self, data: bytes) -> bytes | None:
        routes = self._gateway.judge.network.routes
        return answer_query(
            data,
            lambda name: routes.for_hostname(name) is not None,
            lambda name: self._names.address_of(name, self._now()),
        )

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
