"""What `--quic-engine auto` does on a path that loses packets: in virtual time, and over real QUIC."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, cast

import httpx
import pytest

from pyconnector.connector.link import engine_choice
from pyconnector.connector.link.engine_choice import EngineChoice
from pyconnector.connector.link.paths import path_watch
from pyconnector.edge import EdgeSettings
from pyconnector.edge.faults.relay import Faults
from pyconnector.transport.errors import ConnectFailed
from pyconnector.transport.seam import Statistics
from pyconnector.transport.settings import QuicSettings
from tests.support.houses.house import open_house, tunnel

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.transport.seam import Connection


class Lossy:
    """A connection that sends as much as its window allows, and loses one packet of a hundred."""

    def __init__(self, engine: str = "qh3", *, lost: int = 6) -> None:
        self.engine = engine
        self.busy = False
        self._lost = lost
        self._looks = 0

    def statistics(self) -> Statistics:
        self._looks += 1
        return Statistics(
            engine=self.engine,
            bytes_sent=700_000 * self._looks,
            packets_lost=self._lost * self._looks,
            congestion_window=24_000,
            rtt_smoothed=0.03,
        )


class Tunnel:
    """Connections of which the idle ones can be renewed."""

    def __init__(self, *connections: Lossy) -> None:
        self.list = list(connections)
        self.choice = EngineChoice(QuicSettings())
        self.renewed: list[int] = []

    def connections(self) -> dict[int, Connection]:
        return {index: cast("Connection", each) for index, each in enumerate(self.list)}

    async def renew(self, index: int) -> bool:
        self.renewed.append(index)
        if self.list[index].busy:
            return False
        self.list[index] = Lossy(self.choice.settings.engine)
        return True

    async def follow(self, seconds: float) -> bool:
        """Whether it came to an end by itself."""
        try:
            async with asyncio.timeout(seconds):
                await self.choice.follow(self.connections, self.renew)
        except TimeoutError:
            return False
        return True


@pytest.fixture
def both_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are there, and loading takes no thread, which virtual time would not wait for."""

    async def at_once(function: Callable[..., object], *arguments: object) -> object:
        return function(*arguments)

    monkeypatch.setattr(engine_choice, "engine_name", lambda wanted: "qh3" if wanted == "auto" else wanted)
    monkeypatch.setattr(asyncio, "to_thread", at_once)


@pytest.mark.parametrize(
    ("settings", "open_"),
    [
        (QuicSettings(), True),
        (QuicSettings(congestion_control="bbr"), True),
        (QuicSettings(congestion_control="cubic"), False),
        (QuicSettings(engine="qh3"), False),
        (QuicSettings(engine="aioquic"), False),
    ],
)
@pytest.mark.usefixtures("both_engines")
def test_only_auto_may_change(settings: QuicSettings, open_: bool) -> None:
    assert EngineChoice(settings).is_open is open_


def test_without_qh3_there_is_no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_choice, "engine_name", lambda _: "aioquic")
    assert not EngineChoice(QuicSettings()).is_open


@pytest.mark.usefixtures("both_engines")
@pytest.mark.usefixtures("virtual_time")
async def test_idle_connections_move_and_one_in_use_once_it_is_idle(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    world = Tunnel(Lossy(), Lossy(), Lossy())
    world.list[1].busy = True
    following = asyncio.create_task(world.follow(120))
    await asyncio.sleep(60)
    assert [each.engine for each in world.list] == ["aioquic", "qh3", "aioquic"]
    assert world.choice.settings.engine == "aioquic"
    world.list[1].busy = False
    assert await following
    assert [each.engine for each in world.list] == ["aioquic"] * 3
    assert world.renewed[:3] == [0, 1, 2]
    assert "The path to the edge loses packets" in caplog.text


@pytest.mark.usefixtures("both_engines")
@pytest.mark.usefixtures("virtual_time")
async def test_a_good_path_changes_nothing() -> None:
    world = Tunnel(Lossy(lost=0))
    assert not await world.follow(600)
    assert world.choice.settings.engine == "auto"
    assert world.renewed == []


@pytest.mark.usefixtures("both_engines")
@pytest.mark.usefixtures("virtual_time")
async def test_an_engine_that_cannot_be_loaded_is_said_and_all_stays(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: str) -> None:
        raise ConnectFailed("the QUIC engine aioquic is not installed")

    monkeypatch.setattr(engine_choice, "load_engine", broken)

    world = Tunnel(Lossy())
    assert await world.follow(60)
    assert world.choice.settings.engine == "auto"
    assert world.renewed == []
    assert "aioquic cannot be used" in caplog.text


async def test_downloads_over_a_lossy_path_end_up_on_aioquic(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("qh3", reason="the extra `fast` is not installed")
    # Ten looks a second instead of one: what is seen in each is less certain, and here nothing else could be the cause.
    monkeypatch.setattr(engine_choice, "LOOK_INTERVAL", 0.1)
    monkeypatch.setattr(path_watch, "LEAST_INTERVAL", 0.05)
    body = bytes(200_000)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as origin:
        port = origin.sockets[0].getsockname()[1]
        rules = [{"service": f"http://127.0.0.1:{port}"}]
        settings = EdgeSettings(tunnels=(tunnel(),), fault_relay=True)
        async with open_house(rules, engine="auto", connections=2, settings=settings) as house:
            relay = house.edge.relay
            assert relay is not None
            relay.set(Faults(loss=0.03, delay=0.01, seed=3))

            def engines() -> set[str]:
                found = house.connector.edge_connections().values()
                return {connection.statistics().engine for connection in found}

            assert engines() == {"qh3"}
            async with asyncio.timeout(100), httpx.AsyncClient(trust_env=False, timeout=30) as visitor:
                while engines() != {"aioquic"}:
                    # Each answer is whole, on whichever connection it comes.
                    assert (await visitor.get(house.url)).content == body
            assert house.connector.tracker.connected >= 1
