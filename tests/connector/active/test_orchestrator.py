from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest

from pyconnector.connector.active import orchestrator as orchestrator_module
from pyconnector.connector.active import routes as routes_module
from pyconnector.connector.active.orchestrator import LOCAL, Orchestrator
from pyconnector.connector.api.errors import ReloadRejected, StartFailed
from pyconnector.connector.observe.counters import Counters
from pyconnector.ingress import WarpRouting, parse_ingress, parse_remote_configuration
from pyconnector.ingress.config.parse import MAX_REMOTE_RULES
from pyconnector.origins import OriginResources
from pyconnector.origins.base import Origin, OriginError
from pyconnector.origins.layers.base import Gate
from pyconnector.protocol.rpc.edge_rpc import ConfigurationPushed, EdgeRpcClient, EdgeRpcServer
from tests.connector.fakes import FakeOrigin

if TYPE_CHECKING:
    from pyconnector.origins.layers.base import Layer


class World:
    """An Orchestrator whose origins are made here."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, layers: tuple[Layer, ...] = (), **more: Any) -> None:
        self.made: list[FakeOrigin] = []
        self.applied: list[int] = []
        self.broken = False
        self.counters = Counters()
        monkeypatch.setattr(routes_module, "origin_of", self.build)
        self.orchestrator = Orchestrator(
            resources=OriginResources(),
            layers=layers,
            counters=self.counters,
            on_applied=self.applied.append,
            **more,
        )

    def build(self, rule: object, *, resources: object) -> Origin:
        world = self

        class Started(FakeOrigin):
            started = False

            async def start(self) -> None:
                self.started = True
                if world.broken and len(world.made) % 2 == 0:
                    raise OriginError("the CA file is missing")

        origin = Started()
        self.made.append(origin)
        return origin

    async def start(self, *services: str, **settings: Any) -> None:
        await self.orchestrator.start(ingress(*services, **settings), WarpRouting(max_active_flows=2))


def ingress(*services: str, **settings: Any) -> Any:
    names = services or ("http://localhost:1",)
    rules = [{"hostname": f"h{n}.example", "service": service} for n, service in enumerate(names[:-1])]
    return parse_ingress({"ingress": [*rules, {"service": names[-1]}], "originRequest": settings})


def remote(*services: str, **more: Any) -> bytes:
    return json.dumps({"ingress": [{"service": service} for service in services], **more}).encode()


@contextlib.asynccontextmanager
async def running(monkeypatch: pytest.MonkeyPatch, **options: Any) -> AsyncIterator[World]:
    world = World(monkeypatch, **options)
    yield world
    await world.orchestrator.close()
    assert all(origin.closed for origin in world.made if vars(origin).get("started"))


async def test_the_local_configuration_is_in_force_until_a_newer_one_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch) as world:
        await world.start("http://localhost:1")
        orchestrator = world.orchestrator
        assert (orchestrator.version, orchestrator.limiter.limit) == (LOCAL, 2)
        first = orchestrator.routes
        answer = await orchestrator.apply_remote(
            3, remote("http://localhost:2", **{"warp-routing": {"maxActiveFlows": 9}})
        )
        assert (answer.latest_version, answer.error) == (3, "")
        assert str(orchestrator.routes.ingress.rules[0].service) == "http://localhost:2"
        assert orchestrator.limiter.limit == 9
        assert orchestrator.routes is not first
        assert world.counters.config_version == 3
        assert world.applied == [3]
        assert [origin.closed for origin in world.made] == [True, False]


@pytest.mark.parametrize("version", [2, 3, -1])
async def test_a_version_that_is_no_newer_changes_nothing(monkeypatch: pytest.MonkeyPatch, version: int) -> None:
    async with running(monkeypatch) as world:
        await world.start()
        await world.orchestrator.apply_remote(3, remote("http://localhost:2"))
        before = world.orchestrator.routes
        answer = await world.orchestrator.apply_remote(version, b"not even JSON")
        assert (answer.latest_version, answer.error) == (3, "")
        assert world.orchestrator.routes is before


@pytest.mark.parametrize(
    "config",
    [b"{", b"[]", b"[" * 100_000, remote("nonsense"), remote("http://x", originRequest={"connectTimeout": "10s"})],
)
async def test_a_pushed_configuration_that_cannot_be_used_is_refused_with_a_reason(
    monkeypatch: pytest.MonkeyPatch, config: bytes
) -> None:
    async with running(monkeypatch) as world:
        await world.start()
        before = world.orchestrator.routes
        answer = await world.orchestrator.apply_remote(1, config)
        assert answer.latest_version == LOCAL
        assert answer.error
        assert world.orchestrator.routes is before
        assert world.applied == []


async def test_an_origin_that_cannot_start_keeps_the_old_ones_and_closes_the_new(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running(monkeypatch) as world:
        await world.start()
        world.broken = True
        answer = await world.orchestrator.apply_remote(1, remote("http://localhost:2"))
        assert "the CA file is missing" in answer.error
        assert [origin.closed for origin in world.made] == [False, True]
        world.made.append(FakeOrigin())
        with pytest.raises(ReloadRejected, match="the CA file is missing"):
            await world.orchestrator.apply_local(ingress("http://localhost:3"), WarpRouting())
        world.made.pop(2)


async def test_a_start_that_fails_names_the_rule_and_closes_what_was_started(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch) as world:
        world.broken = True
        with pytest.raises(StartFailed, match=r"ingress\[1\] \(http://localhost:2\): the CA file is missing"):
            await world.start("http://localhost:1", "http://localhost:2")
        assert [origin.closed for origin in world.made] == [True, True]


async def test_no_rules_from_the_edge_answer_503(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch) as world:
        await world.start()
        assert (await world.orchestrator.apply_remote(1, b"{}")).error == ""
        assert str(world.orchestrator.routes.ingress.rules[0].service) == "http_status:503"


async def test_a_reload_swaps_the_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch) as world:
        await world.start()
        await world.orchestrator.apply_local(ingress("http://localhost:5"), WarpRouting())
        assert str(world.orchestrator.routes.ingress.rules[0].service) == "http://localhost:5"
        assert world.applied == [LOCAL]
        assert world.orchestrator.limiter.limit == 0


async def test_a_reload_does_not_replace_the_edges_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch) as world:
        await world.start()
        await world.orchestrator.apply_remote(1, remote("http://localhost:2"))
        with pytest.raises(ReloadRejected, match="version 1"):
            await world.orchestrator.apply_local(ingress("http://localhost:3"), WarpRouting())


async def test_the_limit_of_the_command_line_overrides_every_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch, max_active_flows=7) as world:
        await world.start()
        assert world.orchestrator.limiter.limit == 7
        await world.orchestrator.apply_remote(1, remote("http://x", **{"warp-routing": {"maxActiveFlows": 9}}))
        assert world.orchestrator.limiter.limit == 7


async def test_access_that_nothing_enforces_refuses_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    access = {"required": True, "teamName": "t", "audTag": ["x"]}

    async with running(monkeypatch) as world:
        with pytest.raises(StartFailed, match=r"ingress\[0\]: access is required"):
            await world.start("http://localhost:1", access=access)
        await world.start()
        pushed = await world.orchestrator.apply_remote(1, remote("http://x", originRequest={"access": access}))
        assert "access is required" in pushed.error


async def test_a_gate_that_enforces_access_stands_before_the_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    class Open(Gate):
        enforces = frozenset({"access"})

        async def admit(self, request: object) -> None:
            return None

    async with running(monkeypatch, layers=(Open,)) as world:
        await world.start("http://localhost:1", access={"required": True, "teamName": "t", "audTag": ["x"]})
        (route,) = world.orchestrator.routes.routes
        assert route.access == (route.origin,)
        assert isinstance(route.origin, Open)
        assert route.origin.inner is world.made[0]


@pytest.mark.parametrize(
    ("layer", "reason"),
    [(lambda origin, rule: None, "a layer returned NoneType"), (lambda origin, rule: int("x"), "invalid literal")],
)
async def test_a_layer_that_cannot_be_built_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, layer: Layer, reason: str
) -> None:
    async with running(monkeypatch, layers=(layer,)) as world:
        with pytest.raises(StartFailed, match=rf"ingress\[0\]: {reason}"):
            await world.start("http://localhost:1")


async def test_the_edge_is_told_the_local_rules_and_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch) as world:
        await world.start("http://localhost:1")
        told = json.loads(await world.orchestrator.local_configuration((("retries", "5"),)))
        assert told["__configuration_flags"] == {"retries": "5"}
        assert told["ingress"] == [{"service": "http://localhost:1", "originRequest": {}}]


async def test_a_closed_orchestrator_takes_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch) as world:
        await world.start()
        await world.orchestrator.close()
        assert "shutting down" in (await world.orchestrator.apply_remote(1, remote("http://x"))).error


# -- nobody waits for a large configuration -------------------------------------------------------------------------


def hosts(count: int) -> bytes:
    rules = [{"hostname": f"host-{n}.example", "service": "http://localhost:1"} for n in range(count - 1)]
    return json.dumps({"ingress": [*rules, {"service": "http_status:404"}]}).encode()


class Reader:
    """Reads pushed configurations when it is told to, and knows whether that was on the event loop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.started, self.release = threading.Event(), threading.Event()
        monkeypatch.setattr(orchestrator_module, "parse_remote_configuration", self.read)

    def read(self, data: bytes) -> Any:
        self.started.set()
        assert threading.current_thread() is not threading.main_thread(), "read on the event loop"
        assert self.release.wait(10)
        return parse_remote_configuration(data)


async def test_requests_go_on_while_a_push_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch) as world:
        reader = Reader(monkeypatch)
        await world.start()
        pushing = asyncio.ensure_future(world.orchestrator.apply_remote(1, remote("http://localhost:2")))
        await asyncio.to_thread(reader.started.wait, 10)
        assert str(world.orchestrator.routes.ingress.rules[0].service) == "http://localhost:1"
        reader.release.set()
        assert (await pushing).latest_version == 1


async def test_a_push_is_applied_whoever_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch) as world:
        reader = Reader(monkeypatch)
        await world.start()
        pushing = asyncio.ensure_future(world.orchestrator.apply_remote(1, remote("http://localhost:2")))
        await asyncio.to_thread(reader.started.wait, 10)
        pushing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pushing
        reader.release.set()
        async with asyncio.timeout(30):
            while not world.applied:
                await asyncio.sleep(0.001)
        assert [origin.closed for origin in world.made] == [True, False]


async def test_closing_gives_up_a_push_and_keeps_no_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch) as world:
        reader = Reader(monkeypatch)
        await world.start()
        pushing = asyncio.ensure_future(world.orchestrator.apply_remote(1, remote("http://localhost:2")))
        await asyncio.to_thread(reader.started.wait, 10)
        async with asyncio.timeout(30):
            await world.orchestrator.close()
        assert "shutting down" in (await pushing).error
        reader.release.set()
        assert world.orchestrator.version == LOCAL


async def test_rules_are_opened_and_closed_in_small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch) as world:
        await world.start()
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        many = parse_remote_configuration(hosts(10 * routes_module.ROUTES_PER_TURN)).ingress
        other = asyncio.ensure_future(others())
        for _ in range(2):
            turns = 0
            await world.orchestrator.apply_local(many, WarpRouting())
            assert turns >= 10
        assert turns >= 20  # as many were closed as opened
        other.cancel()


async def test_as_many_rules_can_be_pushed_as_a_file_may_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch) as world:
        await world.start()
        client, server = EdgeRpcClient(), EdgeRpcServer()
        pushed = hosts(MAX_REMOTE_RULES) + b" " * 1_000_000  # more than the reference's defaults written out
        client.update_configuration(1, pushed)
        (event,) = server.receive_data(client.bytes_to_send())
        assert isinstance(event, ConfigurationPushed)
        assert await world.orchestrator.apply_remote(1, event.config) == orchestrator_module.Applied(1)
        assert len(world.orchestrator.routes.routes) == MAX_REMOTE_RULES >= 10_000  # as many as the reference applies
        # What the edge and the page /config are told of them is written beside the loop too.
        threads: list[threading.Thread] = []

        def written(*_: object) -> dict[str, object]:
            threads.append(threading.current_thread())
            return {"ingress": [], "warp-routing": {}}

        monkeypatch.setattr(orchestrator_module, "local_configuration", written)
        await world.orchestrator.local_configuration(())
        await world.orchestrator.shown_configuration()
        assert len(threads) == 2
        assert threading.main_thread() not in threads


@pytest.mark.parametrize("state", ["not been started", "been stopped"])
async def test_rules_are_put_in_force_only_while_it_runs(monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    async with running(monkeypatch) as world:
        if state == "been stopped":
            await world.start()
            await world.orchestrator.close()
        with pytest.raises(ReloadRejected, match=state):
            await world.orchestrator.apply_local(ingress("http://localhost:2"), WarpRouting())
