"""What a configuration that the edge pushes may not do: be read without end, open what is guarded, tell passwords."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest

from pyconnector.connector.active.orchestrator import LOCAL
from pyconnector.connector.api.errors import ReloadRejected, StartFailed
from pyconnector.connector.config import RemoteConfig
from pyconnector.ingress import WarpRouting, parse_ingress
from pyconnector.origins.layers.base import Gate
from pyconnector.origins.net.tls import TlsContexts
from tests.connector.active.test_orchestrator import remote, running

if TYPE_CHECKING:
    from pathlib import Path

    from pyconnector.ingress import Rule
    from pyconnector.origins import Origin
    from tests.connector.active.test_orchestrator import World

ACCESS = {"required": True, "teamName": "t", "audTag": ["x"]}


class Open(Gate):
    enforces = frozenset({"access"})

    async def admit(self, request: object) -> None:
        return None


def gate(origin: Origin, rule: Rule) -> Origin:
    access = rule.settings.access
    return Open(origin, rule) if access is not None and access.required else origin


def local(*guarded: str) -> Any:
    rules = [{"hostname": name, "service": "http://x", "originRequest": {"access": ACCESS}} for name in guarded]
    return parse_ingress({"ingress": [*rules, {"service": "http://x"}]})


def demanded(world: World, host: str, path: str = "/") -> list[str]:
    access = world.orchestrator.routes.local_access
    return [] if access is None else [guard.gates[0].rule.hostname for guard in access.guards(host, path)]


async def test_pushes_can_be_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch, remote=RemoteConfig(refuse=True)) as world:
        await world.start()
        before = world.orchestrator.routes
        answer = await world.orchestrator.apply_remote(1, remote("http://localhost:2"))
        assert answer.latest_version == LOCAL
        assert "--no-remote-config" in answer.error
        assert world.orchestrator.routes is before


async def test_local_access_stays_in_force_where_it_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch, remote=RemoteConfig(keep_access=True), layers=(gate,)) as world:
        await world.orchestrator.start(local("a.test", "*.b.test"), WarpRouting())
        assert world.orchestrator.routes.local_access is None  # its own rules demand it
        await world.orchestrator.apply_remote(1, remote("http://localhost:2"))
        assert demanded(world, "A.test:443") == ["a.test"]
        assert demanded(world, "c.b.test") == ["*.b.test"]
        assert demanded(world, "c.test") == []
        with pytest.raises(ReloadRejected, match="of the local rules only access counts"):
            await world.orchestrator.apply_local(local("c.test"), WarpRouting())
        assert [demanded(world, name) for name in ("a.test", "c.test")] == [[], ["c.test"]]
        await world.orchestrator.apply_remote(2, remote("http://localhost:3"))
        assert demanded(world, "c.test") == ["c.test"]


async def test_a_reload_changes_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch, remote=RemoteConfig(keep_access=True), layers=(gate,)) as world:
        await world.orchestrator.start(local("a.test"), WarpRouting())
        await world.orchestrator.apply_local(local("b.test"), WarpRouting())
        await world.orchestrator.apply_remote(1, remote("http://localhost:2"))
        assert [demanded(world, name) for name in ("a.test", "b.test")] == [[], ["b.test"]]


async def test_local_access_is_replaced_where_it_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch, layers=(gate,)) as world:
        await world.orchestrator.start(local("a.test"), WarpRouting())
        await world.orchestrator.apply_remote(1, remote("http://localhost:2"))
        assert world.orchestrator.routes.local_access is None


async def test_local_access_that_nothing_can_check_refuses_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch, remote=RemoteConfig(keep_access=True)) as world:
        with pytest.raises(StartFailed, match="nothing here can verify it"):
            await world.orchestrator.start(local("a.test"), WarpRouting())


@pytest.mark.parametrize(
    "service",
    [
        "http://user:hunter2@x",
        "https://:hunter2@x:1",
        "tcp://user:hunter2@x:1",
        "h2c://a%40b:hunter2@x?q#f",
        "HTTP://hunter2@x",
    ],
)
async def test_a_password_in_a_pushed_service_is_not_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, service: str
) -> None:
    caplog.set_level(logging.DEBUG)

    async with running(monkeypatch) as world:
        await world.start()
        version = 0
        for pushed in (service, f"nonsense {service}"):
            text = remote(pushed)
            for data in (text, text.replace(b"/", b"\\/"), text.replace(b"@", b"\\u0040")):
                version += 1
                await world.orchestrator.apply_remote(version, data)
        world.broken = True
        del world.made[: len(world.made) % 2 == 0]  # the next origin that is made does not start
        answer = await world.orchestrator.apply_remote(100, remote(service))
        assert "hunter2" not in answer.error
    assert "Updated to new configuration" in caplog.text
    assert "the CA file is missing" in caplog.text
    everything = caplog.text + "".join(str(vars(record)) for record in caplog.records)
    assert "hunter2" not in everything


async def test_a_pushed_pool_is_read_beside_the_event_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []
    client = TlsContexts.client

    def watched(self: TlsContexts, **options: Any) -> Any:
        threads.append(threading.current_thread())
        return client(self, **options)

    async with running(monkeypatch) as world:
        monkeypatch.setattr(TlsContexts, "client", watched)
        await world.start()
        pushed = remote("https://x", originRequest={"caPool": str(tmp_path / "none.pem")})
        await world.orchestrator.apply_remote(1, pushed)
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()
