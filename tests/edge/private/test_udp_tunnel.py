"""The capsules of CONNECT-UDP: taken in slices, and what finds no room is dropped and counted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from pyconnector.edge.private.gateway.udp_tunnel import CAPSULES_A_TURN, UdpTunnel
from pyconnector.protocol.capsules import encode_integer, encode_udp_capsule


class Flow:
    def __init__(self) -> None:
        self.packets: list[bytes] = []

    def send(self, data: bytes) -> None:
        self.packets.append(data)


class Turns:
    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.seen = [0]

    async def wait(self) -> None:
        self.seen.append(len(self.flow.packets))


def tunnel(send: Any = lambda data: True) -> tuple[UdpTunnel, Flow, Turns]:
    flow = Flow()
    turns = Turns(flow)
    made = UdpTunnel(cast("Any", SimpleNamespace(turns=turns)), cast("Any", None), send, lambda *_: None)
    made._flow = cast("Any", flow)
    return made, flow, turns


async def test_many_small_capsules_wait_for_the_turns_of_others() -> None:
    made, flow, turns = tunnel()
    await made.feed(encode_udp_capsule(b"") * 1000 + (encode_integer(0x29) + b"\x00") * 1000)
    assert len(flow.packets) == 1000
    assert len(turns.seen) > 2000 // CAPSULES_A_TURN
    assert max(after - before for before, after in zip(turns.seen, turns.seen[1:], strict=False)) <= CAPSULES_A_TURN


async def test_packets_of_other_contexts_and_without_room_are_counted() -> None:
    sent: list[bytes] = []

    def send(data: bytes) -> bool:
        sent.append(data)
        return len(sent) < 3

    made, flow, _ = tunnel(send)
    await made.feed(encode_integer(0) + encode_integer(3) + b"\x02no" + encode_udp_capsule(b"yes"))
    assert (flow.packets, made.dropped) == ([b"yes"], 1)
    for _ in range(5):
        made._arrived(b"answer")
    assert made.dropped == 4
