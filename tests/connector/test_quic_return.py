"""Connections over HTTP/2 return to QUIC once a handshake shows that it works."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pyconnector.connector.link.edge_connection import Ended, EndKind, Plan
from pyconnector.connector.link.protocol_choice import ProtocolChoice
from pyconnector.connector.link.quic_return import FIRST_LOOK, LONGEST_WAIT, QuicReturn
from pyconnector.transport.errors import ConnectFailed

pytestmark = pytest.mark.usefixtures("virtual_time")


class World:
    """Two connections that fell back, and a network that lets UDP through from some moment on."""

    def __init__(self) -> None:
        self.choice = ProtocolChoice("auto")
        self.engines = {0: "h2", 1: "h2"}
        self.busy = {1: 3}
        self.works = False
        self.probes: list[float] = []
        self.renewed: list[int] = []
        self.changed: list[Any] = []
        for index in (0, 1):
            plan = Plan(index=index, address=("192.0.2.1", 7844), local_port=7, protocol="quic")
            self.choice.failed(plan, Ended(kind=EndKind.UNREACHABLE, reason="silent"))

    async def dial(self, plan: Plan) -> Any:
        assert (plan.protocol, plan.local_port) == ("quic", 0)
        self.probes.append(asyncio.get_running_loop().time())
        if not self.works:
            raise ConnectFailed("silent")
        return SimpleNamespace(close=lambda code, reason: None)

    async def renew(self, index: int) -> bool:
        if self.busy.get(index, 0):
            self.busy[index] -= 1
            return False
        self.renewed.append(index)
        self.engines[index] = self.choice.protocol(index)
        return True

    @contextlib.contextmanager
    def subscribe(self, callback: Any) -> Any:
        self.changed.append(callback)
        yield
        self.changed.remove(callback)

    def connections(self) -> Any:
        return {
            index: SimpleNamespace(statistics=lambda engine=engine: SimpleNamespace(engine=engine))
            for index, engine in self.engines.items()
        }

    def start(self) -> asyncio.Task[None]:
        return asyncio.create_task(
            QuicReturn(
                self.choice, dial=self.dial, connections=self.connections, renew=self.renew, network=cast("Any", self)
            ).run()
        )


async def test_probes_become_rarer_and_the_first_success_moves_all() -> None:
    world = World()
    running = world.start()
    await asyncio.sleep(FIRST_LOOK * 8)
    assert world.probes == [FIRST_LOOK, 3 * FIRST_LOOK, 7 * FIRST_LOOK]
    assert world.engines == {0: "h2", 1: "h2"}
    world.works = True
    await asyncio.sleep(LONGEST_WAIT)
    assert world.engines == {0: "quic", 1: "quic"}
    assert sorted(world.renewed) == [0, 1]
    assert not world.busy[1], "it was left alone while it was in use"
    running.cancel()


async def test_a_changed_network_is_a_reason_to_look_at_once() -> None:
    world = World()
    running = world.start()
    await asyncio.sleep(1)
    world.works = True
    for callback in tuple(world.changed):
        callback()
    await asyncio.sleep(5)
    assert world.probes == [1.0]
    assert world.engines == {0: "quic", 1: "quic"}
    running.cancel()
