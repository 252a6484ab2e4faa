"""Private UDP at an edge that holds no connector of the tunnel: by way of the one that does, and by no third."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from pyconnector.edge.mesh.flows import MAX_UNSENT, PACKETS_A_TURN, Packets, pass_on, send_packet, serve_flow
from pyconnector.edge.private.datagrams.link import OpenFailed
from pyconnector.edge.private.network import Unreachable
from pyconnector.edge.private.udp import PrivateUdp, link_of
from pyconnector.protocol.datagrams import MAX_PAYLOAD_BYTES
from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.http import http2_form as form
from tests.control.edges.test_edges import until
from tests.control.edges.test_many_edges import joined, knows, serving
from tests.control.support import Mesh, open_mesh
from tests.support.services.udp_service import UdpService

if TYPE_CHECKING:
    from pyconnector.edge import LocalEdge

RULES = [{"service": "http_status:404"}]


class Flow:
    """A flow and what came of it."""

    def __init__(self) -> None:
        self.got: asyncio.Queue[bytes] = asyncio.Queue()
        self.ended: list[str] = []
        self.udp: PrivateUdp | None = None

    async def open(self, edge: LocalEdge, port: int, first: bytes = b"") -> PrivateUdp:
        assert edge.private is not None
        destination = await edge.private.find("127.0.0.1", port, "")
        self.udp = await edge.private.open_udp(
            destination, on_data=self.got.put_nowait, on_end=self.ended.append, first=first
        )
        return self.udp

    async def echoed(self, data: bytes) -> None:
        assert self.udp is not None
        self.udp.send(data)
        assert await asyncio.wait_for(self.got.get(), 30) == data


async def routed(mesh: Mesh) -> dict[str, str]:
    made: dict[str, str] = await mesh.tunnel("t")
    await mesh.call("POST", f"{mesh.account}/teamnet/routes", json={"network": "127.0.0.0/8", "tunnel_id": made["id"]})
    return made


async def leads_there(edge: LocalEdge, tunnel_id: str) -> None:
    await knows(edge, tunnel_id)
    await until(lambda: edge.tunnels.get(UUID(tunnel_id)) is not None, "the tunnel")
    assert edge.private is not None
    table = edge.private.routes
    await until(lambda: table.default_network is not None, "the virtual network")


async def test_any_edge_carries_private_udp(tmp_path: Path) -> None:
    async with (
        open_mesh(tmp_path / "data") as mesh, joined(mesh) as one, joined(mesh) as two, UdpService() as service,
    ):  # fmt: skip
        made = await routed(mesh)
        async with serving(one, made["token"], RULES):
            await leads_there(two, made["id"])
            flow, others = Flow(), [Flow() for _ in range(5)]
            udp = await flow.open(two, service.port, b"first")
            assert await asyncio.wait_for(flow.got.get(), 30) == b"first"
            await flow.echoed(b"")
            await flow.echoed(bytes(MAX_PAYLOAD_BYTES))
            await asyncio.gather(*(other.open(two, service.port) for other in others))
            await asyncio.gather(*(other.echoed(b"%d" % number) for number, other in enumerate(others)))
            assert udp.connector_id is None
            (member,) = two.tunnels.elsewhere(UUID(made["id"])) if two.tunnels.elsewhere else ()
            assert member.in_flight == 6
            udp.send(bytes(MAX_PAYLOAD_BYTES + 1))
            assert udp.dropped == 1
            for each in (flow, *others):
                assert each.udp is not None
                each.udp.close()
            await until(lambda: member.in_flight == 0, "the end of what this edge sent")
            tunnel = one.tunnels.get(UUID(made["id"]))
            assert tunnel is not None
            links = [link for each in tunnel.members if (link := link_of(each)) is not None]
            assert links
            await until(lambda: not any(link.sessions for link in links), "the end at the other")


async def test_a_flow_makes_one_hop_and_ends_where_nobody_takes_it(tmp_path: Path) -> None:
    async with (
        open_mesh(tmp_path / "data") as mesh, joined(mesh) as one, joined(mesh) as two, UdpService() as service,
    ):  # fmt: skip
        made = await routed(mesh)
        flow = Flow()
        async with serving(one, made["token"], RULES):
            await leads_there(two, made["id"])
            await flow.open(two, service.port)
            await flow.echoed(b"x")
            # What comes from another edge is not passed on, though a third holds the tunnel.
            tunnel = two.tunnels.get(UUID(made["id"]))
            assert tunnel is not None
            assert two.private is not None
            address = ip_address("127.0.0.1")
            came = PrivateUdp(tunnel, address, service.port, tasks=two.private.tasks, on_data=_nothing, on_end=_nothing)
            assert len(came._candidates()) == 1
            came.here_alone = True
            assert came._candidates() == []
            came.close()
        # The connector left: the flow looks for another one, and does not hang.
        assert flow.udp is not None
        flow.udp.close()
        with pytest.raises(Unreachable):
            await Flow().open(two, service.port)


async def test_a_flow_of_another_edge_is_served_by_connectors_here_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Asked:
        here_alone = False

        def __init__(self, *_: object, **__: object) -> None:
            pass

        async def open(self) -> None:
            raise OpenFailed("here alone" if self.here_alone else "anywhere")

    monkeypatch.setattr("pyconnector.edge.private.udp.PrivateUdp", Asked)
    nobody: Any = None
    with pytest.raises(OpenFailed, match="here alone"):
        await serve_flow(nobody, nobody, form.tcp_request_fields("127.0.0.1:9", "x"), nobody)


def _nothing(_: object) -> None:
    pass


def test_packets_are_cut_out_of_a_stream_wherever_it_is_cut() -> None:
    sent = [b"", b"a", bytes(MAX_PAYLOAD_BYTES), b"bc"]
    whole = b"".join(len(data).to_bytes(2, "big") + data for data in sent)
    for step in (1, 2, 7, len(whole)):
        packets = Packets()
        assert [each for at in range(0, len(whole), step) for each in packets.feed(whole[at : at + step])] == sent
    with pytest.raises(ProtocolError):
        list(Packets().feed((MAX_PAYLOAD_BYTES + 1).to_bytes(2, "big")))


async def test_a_flood_of_empty_packets_takes_turns() -> None:
    took = 0
    pieces = [bytes(2 * 4 * PACKETS_A_TURN), b""]
    in_turns: list[int] = []

    class Flood:
        async def receive(self, limit: int) -> bytes:
            return pieces.pop(0)

    def take(packet: bytes) -> None:
        nonlocal took
        took += 1

    def look() -> None:
        in_turns.append(took)
        if took < 4 * PACKETS_A_TURN:
            asyncio.get_running_loop().call_soon(look)

    asyncio.get_running_loop().call_soon(look)
    await pass_on(Flood(), take)  # type: ignore[arg-type]
    assert took == 4 * PACKETS_A_TURN
    steps = [after - before for before, after in pairwise(in_turns)]
    assert max(steps) <= PACKETS_A_TURN


class _Stream:
    def __init__(self, backlog: int) -> None:
        self.backlog, self.sent = backlog, b""

    def engine_unsent_backlog(self) -> int:
        return self.backlog

    def send_nowait(self, data: bytes) -> bool:
        self.sent += data
        return False


@pytest.mark.parametrize(("backlog", "taken"), [(0, True), (MAX_UNSENT, True), (MAX_UNSENT + 1, False)])
def test_a_flow_that_is_not_taken_off_drops_packets(backlog: int, taken: bool) -> None:
    stream = _Stream(backlog)
    assert send_packet(stream, b"x") is taken  # type: ignore[arg-type]
    assert stream.sent == (b"\0\1x" if taken else b"")
