"""The embedding API over real QUIC on loopback, with the local edge at the other end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import urllib.request
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, cast

import pytest

from pyconnector import (
    ConfigurationApplied,
    Connector,
    ConnectorConfig,
    ConnectorError,
    Event,
    Refused,
    Registered,
    RegistrationRefused,
    ReloadRejected,
    StartFailed,
)
from pyconnector.connector.api import switching
from pyconnector.connector.config import Credentials, EdgeConfig, LifecycleConfig
from pyconnector.connector.discovery.address_book import AddressBook
from pyconnector.connector.discovery.remote_switches import Switches
from pyconnector.connector.link.paths.network_watch import NetworkWatch
from pyconnector.connector.observe.log import Log
from pyconnector.edge.local_edge import LocalEdge
from pyconnector.edge.settings import EdgeSettings, TunnelSettings
from pyconnector.ingress import parse_ingress
from pyconnector.transport.settings import QuicSettings
from pyconnector.transport.tls.certificates import make_authority

SECRET = b"a secret of the tests, 32 bytes."
HELLO = [{"service": "http_status:418"}]


def make_tunnel(number: int, *hostnames: str) -> TunnelSettings:
    tunnel_id = uuid.UUID(int=number)
    return TunnelSettings(account_tag="tests", tunnel_id=tunnel_id, secret=SECRET, hostnames=hostnames)


def config(
    edge: LocalEdge, rules: list[Any] = HELLO, *, number: int = 1, connections: int = 1, **more: Any
) -> ConnectorConfig:
    host, port = edge.quic_address
    return ConnectorConfig(
        credentials=Credentials(account_tag="tests", tunnel_id=uuid.UUID(int=number), secret=SECRET),
        ingress=parse_ingress({"ingress": rules}),
        edge=EdgeConfig(addresses=(f"{host}:{port}",), ca_file=str(edge.ca_path), quic=QuicSettings(engine="aioquic")),
        lifecycle=LifecycleConfig(ha_connections=connections, grace_period=5.0),
        **more,
    )


@contextlib.asynccontextmanager
async def local_edge(*tunnels: TunnelSettings) -> AsyncIterator[LocalEdge]:
    async with asyncio.timeout(20), LocalEdge(EdgeSettings(tunnels=tunnels or (make_tunnel(1),))) as edge:
        yield edge


def get(edge: LocalEdge, host: str = "app.example", path: str = "/") -> Awaitable[int]:
    def ask() -> int:
        connection = HTTPConnection(*edge.visitor_address, timeout=10)
        try:
            connection.request("GET", path, headers={"Host": host})
            response = connection.getresponse()
            response.read()
            return response.status
        finally:
            connection.close()

    return asyncio.to_thread(ask)


async def test_a_connector_registers_serves_and_drains() -> None:
    async with local_edge() as edge:
        events: list[Event] = []
        async with Connector(config(edge, connections=3), on_event=events.append) as connector:
            await connector.wait_ready(3)
            assert await get(edge) == 418
            assert connector.statistics().total_requests == 1
            assert [info.location for info in connector.connections] == ["local"] * 3
            assert len([event for event in events if isinstance(event, Registered)]) == 3
            started = asyncio.get_running_loop().time()
            await connector.drain()
            assert asyncio.get_running_loop().time() - started < 2
            await connector.wait_closed()
            assert connector.statistics().connected == 0


async def test_several_connectors_live_in_one_process() -> None:
    async with local_edge(make_tunnel(1, "one.example"), make_tunnel(2, "two.example")) as edge:
        first = Connector(config(edge, [{"service": "http_status:201"}], number=1))
        second = Connector(config(edge, [{"service": "http_status:202"}], number=2))
        async with first, second:
            await asyncio.gather(first.wait_ready(), second.wait_ready())
            assert (await get(edge, "one.example"), await get(edge, "two.example")) == (201, 202)
            await first.drain()
            assert await get(edge, "two.example") == 202
            assert (first.counters.total_requests, second.counters.total_requests) == (1, 2)


async def test_a_library_user_keeps_signals_the_root_logger_and_the_loop_policy() -> None:
    def snapshot() -> tuple[object, ...]:
        handlers = tuple(signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
        return handlers, tuple(logging.getLogger().handlers), logging.getLogger().level, asyncio.get_event_loop_policy()

    async with local_edge() as edge:
        before = snapshot()
        async with Connector(config(edge)) as connector:
            await connector.wait_ready()
            assert snapshot() == before
        assert snapshot() == before


async def test_nothing_is_left_behind(tmp_path: Path) -> None:
    def descriptors() -> int:
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir()))

    async with local_edge() as edge:
        before, tasks = descriptors(), asyncio.all_tasks()
        for leave in ("drain", "exit"):
            async with Connector(config(edge, connections=2, metrics="127.0.0.1:0")) as connector:
                await connector.wait_ready(2)
                assert await get(edge) == 418
                if leave == "drain":
                    await connector.drain()
        await asyncio.sleep(0.2)
        assert descriptors() <= before + 1  # the executor's own
        assert {task.get_name() for task in asyncio.all_tasks() - tasks if "edge" not in task.get_name()} == set()


async def test_a_wrong_secret_is_told_to_who_waits() -> None:
    async with local_edge() as edge:
        events: list[Event] = []
        wrong = config(edge)
        wrong = replace(wrong, credentials=replace(wrong.credentials, secret=b"wrong"))
        async with Connector(wrong, on_event=events.append) as connector:
            with pytest.raises(RegistrationRefused, match="Invalid tunnel secret"):
                await connector.wait_ready()
            assert any(isinstance(event, Refused) and event.permanent for event in events)


@pytest.mark.parametrize("protocol", ["quic", "http2"])
@pytest.mark.parametrize("given", [False, True])
async def test_only_who_named_no_authority_is_told_how(
    given: bool, protocol: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = tmp_path / "ca.pem"
    other.write_bytes(make_authority("somebody else").certificate_pem)
    with caplog.at_level(logging.ERROR, "pyconnector"):
        async with local_edge() as edge:
            wrong = replace(config(edge).edge, ca_file=str(other) if given else None, protocol=protocol)
            async with Connector(replace(config(edge), edge=wrong)):
                async with asyncio.timeout(30):
                    while "not trusted" not in caplog.text:
                        await asyncio.sleep(0.01)
    assert ("--cacert" in caplog.text) is not given


async def test_a_lost_connection_is_made_again_from_the_same_port() -> None:
    async with local_edge() as edge:
        async with Connector(config(edge)) as connector:
            await connector.wait_ready()
            port = connector.edge_connections()[0].local_address[1]
            for connection in edge.connectors.all():
                connection.transport.close(reason="killed by the test")
            async with asyncio.timeout(30):
                while connector.tracker.connected:
                    await connector.tracker.wait_change()
            await connector.wait_ready()
            assert connector.edge_connections()[0].local_address[1] == port
            assert await get(edge) == 418


async def test_waits_and_timeouts_are_those_of_the_config() -> None:
    lifecycle = LifecycleConfig(retries=2, write_stream_timeout=7.0)
    credentials = Credentials(account_tag="tests", tunnel_id=uuid.UUID(int=1), secret=SECRET)
    connector = Connector(ConnectorConfig(credentials=credentials, lifecycle=lifecycle))
    backoff = connector._make_backoff()
    for _ in range(9):
        backoff.next_delay()
    assert backoff.bound == 4.0
    connector._network = NetworkWatch()
    services = connector._services(AddressBook([], choose=lambda found: found[0]))
    factory = cast("Any", services.dial).__self__
    assert factory._path(0, Log("test")).write_timeout == 7.0


async def test_what_the_provider_switches_holds_for_the_next_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = asyncio.Event()

    async def follow(config: object, known: Switches, changed: Callable[[Switches], None], **_: object) -> None:
        await at_once.wait()
        changed(Switches(datagram_v3=True))

    monkeypatch.setattr(switching, "is_switched", lambda config: True)
    monkeypatch.setattr(switching, "follow_switches", follow)
    async with local_edge() as edge, Connector(config(edge)) as connector:
        await connector.wait_ready()
        (before,) = edge.connectors.all()
        at_once.set()
        await asyncio.sleep(0)
        connector.reconnect()
        while not (after := [each for each in edge.connectors.all() if each is not before and each.registered_at]):
            await asyncio.sleep(0.01)
        assert "support_datagram_v3_2" not in before.registration.features
        assert "support_datagram_v3_2" in after[0].registration.features


async def test_a_reload_changes_the_rules_and_drops_no_request() -> None:
    async with local_edge() as edge:
        events: list[Event] = []
        release = asyncio.Event()

        async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            await release.wait()
            writer.write(b"HTTP/1.1 203 Fine\r\nContent-Length: 0\r\n\r\n")
            writer.close()

        origin = await asyncio.start_server(slow, "127.0.0.1", 0)
        port = origin.sockets[0].getsockname()[1]
        async with Connector(
            config(edge, [{"service": f"http://127.0.0.1:{port}"}]), on_event=events.append
        ) as connector:
            await connector.wait_ready()
            under_way = asyncio.ensure_future(get(edge))
            while not connector.statistics().active_requests:
                await asyncio.sleep(0.01)
            await connector.reload(config(edge, [{"service": "http_status:299"}]))
            assert await get(edge) == 299
            release.set()
            assert await under_way == 203
            assert ConfigurationApplied(version=-1) in events
            broken = [{"service": "https://127.0.0.1:1", "originRequest": {"caPool": "/does/not/exist"}}]
            with pytest.raises(ReloadRejected):
                await connector.reload(config(edge, broken))
            assert await get(edge) == 299
        origin.close()
        await origin.wait_closed()


async def test_a_pushed_configuration_takes_over() -> None:
    async with local_edge(
        replace(make_tunnel(1), configuration=b'{"ingress":[{"service":"http_status:299"}]}')
    ) as edge:
        events: list[Event] = []
        async with Connector(config(edge), on_event=events.append) as connector:
            await connector.wait_ready()
            async with asyncio.timeout(30):
                while connector.statistics().configuration_version != 0:
                    await asyncio.sleep(0.02)
            assert ConfigurationApplied(version=0) in events
            assert await get(edge) == 299
            with pytest.raises(ReloadRejected, match="version 0"):
                await connector.reload(config(edge))


async def test_the_metrics_server_shows_readiness_and_rules() -> None:
    async with local_edge() as edge:
        async with Connector(config(edge, metrics="127.0.0.1:0")) as connector:
            url = "http://{}:{}".format(*connector.metrics_server.address)
            await connector.wait_ready()
            ready = await asyncio.to_thread(_read, f"{url}/ready")
            assert b'"readyConnections":1' in ready
            assert b"cloudflared_tunnel_total_requests" in await asyncio.to_thread(_read, f"{url}/metrics")
            assert b"http_status:418" in await asyncio.to_thread(_read, f"{url}/config")


def _read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=5) as response:
        data: bytes = response.read()
    return data


async def test_what_cannot_start_is_one_sentence_and_leaves_nothing() -> None:
    async with local_edge() as edge:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            with pytest.raises(StartFailed, match="cannot serve metrics"):
                await Connector(config(edge, metrics=f"127.0.0.1:{taken.getsockname()[1]}")).start()
        nowhere = replace(config(edge), edge=EdgeConfig(addresses=("does-not-exist.invalid:7844",)))
        with pytest.raises(StartFailed, match="failed to resolve any edge address"):
            await Connector(nowhere).start()
        broken = [{"service": "https://127.0.0.1:1", "originRequest": {"caPool": "/does/not/exist"}}]
        with pytest.raises(StartFailed, match=r"ingress\[0\]"):
            await Connector(config(edge, broken)).start()


async def test_waiting_for_a_connector_that_was_stopped_ends() -> None:
    async with local_edge() as edge:
        connector = Connector(replace(config(edge), edge=EdgeConfig(addresses=("127.0.0.1:9",))))
        await connector.start()
        waiting = asyncio.ensure_future(connector.wait_ready())
        await asyncio.sleep(0.05)
        await connector.stop()
        with pytest.raises(ConnectorError, match="not running"):
            await waiting
        with pytest.raises(ConnectorError, match="started once"):
            await connector.start()


async def test_tags_and_the_connectors_id_reach_the_origin() -> None:
    async with local_edge() as edge:
        heads: list[bytes] = []

        async def origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 204 Fine\r\nConnection: close\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(origin, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        rules = [{"service": f"http://127.0.0.1:{port}"}]
        async with Connector(config(edge, rules, tags=(("ROOM", "attic"),))) as connector:
            await connector.wait_ready()
            assert await get(edge) == 204
            assert b"Cf-Warp-Tag-Room: attic\r\n" in heads[0]
            assert b"Cf-Warp-Tag-Id: " + str(connector.connector_id).encode() in heads[0]
        server.close()
        await server.wait_closed()
