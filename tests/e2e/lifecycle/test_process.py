"""`pyconnector` as a process: signals during requests, reloading under load, what it prints, exit codes."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
from pathlib import Path

import pytest

from pyconnector.edge import EdgeSettings, LocalEdge
from tests.support.houses.house import SECRET_TEXT, TUNNEL_ID, tunnel
from tests.support.peers.load import under_load
from tests.support.peers.raw_origin import Peer, answering, raw_origin
from tests.support.peers.raw_visitor import RawVisitor, get
from tests.support.services.process import Process, pyconnector


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def credentials(tmp_path: Path) -> Path:
    value = {"AccountTag": "tests", "TunnelSecret": SECRET_TEXT, "TunnelID": str(TUNNEL_ID)}
    return write(tmp_path / "credentials.json", json.dumps(value))


def config(tmp_path: Path, rules: str) -> Path:
    return write(tmp_path / "config.yml", f"credentials-file: {credentials(tmp_path)}\ningress:\n{rules}")


def flags(edge: LocalEdge) -> tuple[object, ...]:
    address = "{}:{}".format(*edge.quic_address)
    return "--edge", address, "--cacert", edge.ca_path, "--metrics", "127.0.0.1:0", "--ha-connections", 1


def edge_for_tests() -> LocalEdge:
    return LocalEdge(EdgeSettings(tunnels=(tunnel(),)))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_request_under_way_completes_after_the_signal(tmp_path: Path, number: signal.Signals) -> None:
    go_on = asyncio.Event()

    async def slow(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
        await go_on.wait()
        await peer.send(b"-last")

    async with raw_origin(slow) as origin, edge_for_tests() as edge:
        path = config(tmp_path, f"  - service: http://127.0.0.1:{origin.port}\n")
        async with pyconnector("run", path, *flags(edge)) as process:
            await process.line("Registered tunnel connection")
            async with RawVisitor(edge.visitor_address) as visitor, RawVisitor(edge.visitor_address) as late:
                visitor.send(get())
                assert (await visitor.head()).status == 200
                process.send_signal(number)
                await process.line("Unregistered tunnel connection")
                assert (await late.request(get())).status == 530, "nothing new is sent to it"
                go_on.set()
                assert await visitor.reader.readexactly(10) == b"first-last"
                # It does not wait out the grace period (30 s) once nothing is left.
                assert await process.code() == 0
            assert "Traceback" not in process.text


async def test_the_grace_period_ends_and_the_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    async def never(peer: Peer) -> None:
        await peer.head()
        await peer.closed()

    async with raw_origin(never) as origin, edge_for_tests() as edge:
        path = config(tmp_path, f"  - service: http://127.0.0.1:{origin.port}\n")
        for extra, signals, said in (
            (("--grace-period", "300ms"), 1, "The grace period is over: 1 request is broken off"),
            ((), 2, "Stopping at once due to a second signal"),
        ):
            async with pyconnector("run", path, *flags(edge), *extra) as process:
                await process.line("Registered tunnel connection")
                async with RawVisitor(edge.visitor_address) as visitor:
                    visitor.send(get())
                    while not edge.connectors.all()[0].in_flight or len(origin.peers) != signals:
                        await asyncio.sleep(0.01)
                    process.send_signal(signal.SIGTERM)
                    await process.line("Unregistered tunnel connection")
                    if signals == 2:
                        process.send_signal(signal.SIGTERM)
                    await process.line(said)
                    assert await process.code() == 0
                    assert (await visitor.response()).status == 502
                assert "Traceback" not in process.text


async def test_sighup_under_load_drops_nothing_and_a_bad_config_changes_nothing(tmp_path: Path) -> None:
    response = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n%b"
    async with raw_origin(answering(response % b"old")) as old, raw_origin(answering(response % b"new")) as new:
        path = config(tmp_path, f"  - service: http://127.0.0.1:{old.port}\n")
        async with edge_for_tests() as edge, pyconnector("run", path, *flags(edge)) as process:
            await process.line("Registered tunnel connection")
            async with under_load(edge.visitor_address) as load:
                assert set(load.answers) == {(200, b"old")}
                config(tmp_path, f"  - service: http://127.0.0.1:{new.port}\n")
                process.send_signal(signal.SIGHUP)
                await process.line("The new rules are in force")
                await load.until(30)
                assert load.answers[200, b"new"] > 0
                config(tmp_path, "  - servce: http_status:404\n")
                process.send_signal(signal.SIGHUP)
                line = await process.line("The new configuration is not used")
                assert "config.yml:3:5: ingress[0].servce: " in line
                await load.until(30)
                path.unlink()
                process.send_signal(signal.SIGHUP)
                await process.line("there is no such config file")
                await load.until(30)
            assert set(load.statuses) == {200}
            process.send_signal(signal.SIGTERM)
            assert await process.code() == 0
            assert "Traceback" not in process.text


async def printed_address(process: Process, text: str) -> tuple[str, int]:
    found = re.search(r"127\.0\.0\.1:(\d+)", await process.line(text))
    assert found is not None
    return "127.0.0.1", int(found[1])


async def test_run_local_prints_what_to_open_and_serves_it(tmp_path: Path) -> None:
    async def echo(peer: Peer) -> None:
        await peer.send(await peer.rest())

    async with (
        raw_origin(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")) as web,
        raw_origin(echo) as db,
    ):
        rules = (
            f"  - hostname: app.test\n    service: http://127.0.0.1:{web.port}\n"
            f"  - hostname: db.test\n    service: tcp://127.0.0.1:{db.port}\n"
            "  - service: http_status:404\n"
        )
        path = write(tmp_path / "config.yml", f"ingress:\n{rules}")
        async with pyconnector("run", "--local", path, "--metrics", "127.0.0.1:0") as process:
            visitors = await printed_address(process, "curl -H 'Host: app.test'")
            async with RawVisitor(visitors) as visitor:
                assert (await visitor.request(get("/", "app.test"))).body == b"hi"
                assert (await visitor.request(get("/", "else.test"))).status == 404
            async with RawVisitor(await printed_address(process, "(TCP)")) as visitor:
                visitor.send(b"SELECT 1")
                visitor.writer.write_eof()
                assert await visitor.reader.read() == b"SELECT 1"
            process.send_signal(signal.SIGINT)
            assert await process.code() == 0
            assert "Traceback" not in process.text


async def test_an_edge_and_a_connector_as_processes_of_their_own(tmp_path: Path) -> None:
    path = config(tmp_path, "  - service: http_status:299\n")
    zero = ("--listen", "127.0.0.1:0", "--visitors", "127.0.0.1:0", "--control", "127.0.0.1:0")
    async with pyconnector("edge", "--tunnel", credentials(tmp_path), *zero) as edge:
        # What it prints is what the connector is to be told.
        told = (await edge.line("connectors: ")).partition("connectors: ")[2].split()
        visitors = await printed_address(edge, "visitors: ")
        await edge.line("control: ")
        async with pyconnector("run", path, *told, "--metrics", "127.0.0.1:0") as connector:
            await connector.line("Registered tunnel connection")
            async with RawVisitor(visitors) as visitor:
                assert (await visitor.request(get())).status == 299
            edge.send_signal(signal.SIGTERM)
            assert await edge.code() == 0
            await connector.line("Lost the connection to the edge")
            connector.send_signal(signal.SIGTERM)
            assert await connector.code() == 0, "waiting to reconnect, it stops at once"
        assert "Traceback" not in edge.text + connector.text


async def test_exit_codes(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = "{}:{}".format(*taken.getsockname())
        path = config(tmp_path, "  - service: http_status:404\n")
        commands: list[tuple[int, tuple[object, ...]]] = [
            (0, ("version",)),
            (0, ("ingress", "validate", path)),
            (1, ("run", path, "--edge", "127.0.0.1:9", "--metrics", address)),
            (1, ("edge", "--any-credentials", "--listen", "127.0.0.1:0", "--visitors", address)),
            (2, ("run", tmp_path / "missing.yml")),
            (2, ("run", "--no-such-flag")),
        ]

        async def code(expected: int, arguments: tuple[object, ...]) -> None:
            async with pyconnector(*arguments) as process:
                assert await process.code() == expected, (arguments, process.text)
                assert "Traceback" not in process.text

        for command in commands:
            await code(*command)
