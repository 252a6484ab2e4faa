"""The smallest messages an edge can send over RPC: a flood of them leaves turns to everybody else."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from pyconnector.connector.link.control_stream import ControlStream
from pyconnector.connector.link.rpc_streams import RpcStreams
from pyconnector.connector.observe.counters import Counters
from pyconnector.connector.observe.log import Log
from pyconnector.protocol.rpc import messages as messages
from pyconnector.protocol.rpc.conversation import READ_BYTES, Conversation
from tests.support.loop.turns import TurnMeter

# A message that asks for nothing and is answered with nothing, and the smallest that is answered.
RELEASE = messages.encode_release(0, 0)
UNKNOWN = (0).to_bytes(4, "little") + (2).to_bytes(4, "little") + bytes(4) + b"\1\0\0\0" + b"\x63" + bytes(7)
UNITS = {"release": RELEASE, "unknown": UNKNOWN}


class Flood:
    """A stream of the edge whose bytes are always there, and that takes every answer."""

    stream_id = 0

    def __init__(self, unit: bytes, count: int) -> None:
        self._wire = unit * count

    async def receive(self, limit: int = 65_536) -> bytes:
        data, self._wire = self._wire[:limit], self._wire[limit:]
        return data

    async def send(self, data: bytes) -> None:
        pass

    def send_nowait(self, data: bytes, *, finish: bool = False) -> bool:
        return False


def meter_of(monkeypatch: pytest.MonkeyPatch) -> TurnMeter:
    meter = TurnMeter()
    monkeypatch.setattr(Conversation, "_receive", meter.counting(Conversation._receive, lambda nothing: 1))
    return meter


@pytest.mark.usefixtures("each_loop")
@pytest.mark.parametrize("streams", [1, 100])
@pytest.mark.parametrize("kind", UNITS)
async def test_rpc_streams_take_turns(monkeypatch: pytest.MonkeyPatch, streams: int, kind: str) -> None:
    meter = meter_of(monkeypatch)
    count = 20_000 // streams

    rpc = RpcStreams(orchestrator=cast("Any", None), counters=Counters(), timeout=50.0, log=Log("request"))
    with meter:
        async with asyncio.TaskGroup() as group:
            for _ in range(streams):
                flood = Flood(UNITS[kind], count)
                leftover = await flood.receive(65_536)
                group.create_task(rpc.serve(cast("Any", flood), leftover))
    assert meter.total == count * streams
    assert meter.most <= streams * (READ_BYTES // len(UNITS[kind]) + 1)


@pytest.mark.usefixtures("each_loop")
@pytest.mark.parametrize("streams", [1, 100])
@pytest.mark.parametrize("kind", UNITS)
async def test_control_streams_take_turns(monkeypatch: pytest.MonkeyPatch, streams: int, kind: str) -> None:
    meter = meter_of(monkeypatch)
    count = 20_000 // streams

    with meter:
        async with asyncio.TaskGroup() as group:
            for _ in range(streams):
                flood: Any = Flood(UNITS[kind], count)
                group.create_task(ControlStream(flood, timeout=5.0).read())
    assert meter.total == count * streams
    assert meter.most <= streams * (READ_BYTES // len(UNITS[kind]) + 1)


def test_what_is_read_at_once_is_little() -> None:
    assert READ_BYTES // len(RELEASE) <= 256
