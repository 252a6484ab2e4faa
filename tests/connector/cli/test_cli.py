"""The command line as a user meets it: exit codes, sentences, and (a few) whole processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from pyconnector.connector.cli import main
from pyconnector.connector.cli.options import overrides_of
from pyconnector.connector.config.flags import FLAGS
from pyconnector.connector.version import version
from pyconnector.edge.local_edge import LocalEdge
from pyconnector.edge.settings import EdgeSettings, TunnelSettings
from tests.connector.configs import ACCOUNT, RULES, SECRET, TUNNEL_ID, token, write_config, write_credentials

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("TUNNEL_", "PYCONNECTOR_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


# -- without a connection ------------------------------------------------------------------------------------------


def test_version_and_help_exit_0() -> None:
    assert invoke("version").output == f"pyconnector {version()}\n"
    assert invoke("--version").exit_code == 0
    found = invoke("run", "--help")
    assert found.exit_code == 0
    assert "--edge HOST:PORT" in found.output
    assert "TUNNEL_TOKEN" in found.output
    assert "--bucket-name" not in found.output


@pytest.mark.parametrize(
    "arguments",
    [("run", "--nonsense"), ("nonsense",), ("ingress", "rule"), ("ingress", "rule", "a", "b", "c"), ("run", "a", "b")],
)
def test_bad_usage_exits_2(arguments: tuple[str, ...]) -> None:
    assert invoke(*arguments).exit_code == 2


def test_a_valid_config_is_ok(tmp_path: Path) -> None:
    found = invoke("ingress", "validate", write_config(tmp_path, RULES, credentials=False))
    assert (found.exit_code, found.output.splitlines()[-1]) == (0, "OK")


def test_every_problem_of_a_config_is_listed_with_its_place(tmp_path: Path) -> None:
    path = write_config(tmp_path, "loglevel: 4\ningress:\n  - service: nope\n", credentials=False)
    found = invoke("ingress", "validate", path)
    assert found.exit_code == 2
    lines = found.stderr.splitlines()
    assert lines[0].startswith(f"{path}:1:11: loglevel: ")
    assert lines[1].startswith(f"{path}:3:14: ingress[0].service: ")


def test_problems_can_be_had_as_json(tmp_path: Path) -> None:
    path = write_config(tmp_path, "nonsense: 1\n" + RULES, credentials=False)
    found = invoke("ingress", "validate", "--json", path)
    assert found.exit_code == 2
    value = json.loads(found.stdout)
    assert value["ok"] is False
    assert value["problems"][0] | {"suggestion": ""} == {
        "file": str(path), "line": 1, "column": 1, "path": ["nonsense"], "message": "unknown key", "suggestion": "",
        "severity": "error",
    }  # fmt: skip
    assert invoke("ingress", "validate", "--json", "--allow-unknown-keys", path).exit_code == 0


@pytest.mark.parametrize("text", ["a:\n\tb: 1\n", "- x\n", "a: 1\na: 2\n", ""])
def test_a_config_that_is_none_is_one_sentence(tmp_path: Path, text: str) -> None:
    found = invoke("ingress", "validate", write_config(tmp_path, text, credentials=False))
    assert found.exit_code == 2
    assert "Traceback" not in found.output


def test_a_missing_config_is_one_sentence(tmp_path: Path) -> None:
    found = invoke("run", tmp_path / "none.yml")
    assert found.exit_code == 2
    assert found.stderr == f"{tmp_path}/none.yml: there is no such config file\n"
    assert "none was found" in invoke("ingress", "validate").stderr


def test_the_rule_of_a_url_is_shown_with_why_the_others_are_not(tmp_path: Path) -> None:
    text = "ingress:\n  - hostname: a.example\n    service: http://localhost:1\n  - service: http_status:404\n"
    path = write_config(tmp_path, text, credentials=False)
    found = invoke("ingress", "rule", path, "https://b.example/x")
    assert found.exit_code == 0
    assert "Matched rule #1" in found.stdout
    assert "Not rule #0: " in found.stdout
    assert invoke("ingress", "rule", path, "b.example").exit_code == 2


def test_the_rule_whose_access_a_path_needs_too_is_shown(tmp_path: Path) -> None:
    access = "{access: {required: true, teamName: example, audTag: [a]}}"
    text = f"""\
ingress:
  - {{hostname: a.example, path: ^/admin, service: "http://localhost:1", originRequest: {access}}}
  - {{hostname: a.example, service: "http://localhost:1"}}
  - service: http_status:404
"""
    path = write_config(tmp_path, text, credentials=False)
    found = invoke("ingress", "rule", path, "https://a.example//admin")
    assert "Matched rule #1" in found.stdout
    assert "Needs the access of rule #0 too" in found.stdout
    assert "differ in access by path" in invoke("ingress", "validate", path).stderr


def test_the_rule_for_who_asks_is_shown(tmp_path: Path) -> None:
    access = "{access: {required: true, teamName: example, audTag: [a]}}"
    text = f"""\
ingress:
  - {{hostname: a.example, identity: ["role:writer"], service: "http://localhost:1", originRequest: {access}}}
  - {{hostname: a.example, identity: ["email:a@b.c"], service: "http://localhost:2", originRequest: {access}}}
  - service: http_status:404
"""
    path = write_config(tmp_path, text, credentials=False)
    nobody = invoke("ingress", "rule", path, "https://a.example").stdout
    assert "Matched rule #2" in nobody
    assert "Not rule #0: it is for role:writer, and others ask" in nobody
    assert "say who asks with --as" in nobody
    writer = invoke("ingress", "rule", path, "https://a.example", "--as", "label:x", "--as", "role:writer").stdout
    assert "Matched rule #0" in writer
    assert "\tidentity: role:writer\n" in writer
    assert "Matched rule #1" in invoke("ingress", "rule", path, "https://a.example", "--as", "email:a@b.c").stdout
    for wrong in (["writer"], ["role:a", "email:b@c.d"], ["role:a", "role:b"]):
        options = [word for entry in wrong for word in ("--as", entry)]
        assert invoke("ingress", "rule", path, "https://a.example", *options).exit_code == 2


def test_the_references_spelling_is_understood(tmp_path: Path) -> None:
    path = write_config(tmp_path, RULES, credentials=False)
    assert invoke("tunnel", "--config", path, "ingress", "validate").exit_code == 0
    assert "Matched rule #0" in invoke("tunnel", "--config", path, "ingress", "rule", "https://x.example/").stdout
    assert "no tunnel credentials" in invoke("tunnel", "--config", path, "run").stderr
    assert "--retries" in invoke("tunnel", "--config", path, "--retries", "x", "run", "--loglevel", "debug").stderr


def test_credentials_that_cannot_be_used_are_one_sentence(tmp_path: Path) -> None:
    path = write_config(tmp_path, RULES, credentials=False)
    assert "does not exist" in invoke("run", path, "--credentials-file", "/none.json").stderr
    assert "not valid" in invoke("run", path, "--token", "sesame").stderr
    assert "sesame" not in invoke("run", path, "--token", "sesame").output
    assert invoke("run", path).exit_code == 2


def test_the_command_line_knows_every_flag_of_the_table() -> None:
    command = main.commands["run"]
    options = {option for parameter in command.get_params(click.Context(command)) for option in parameter.opts}
    assert {f"--{name}" for name in FLAGS} <= options
    given = {"retries": "3", "edge": ("a:1",), "bastion": False, "token": None, "local": True}
    assert overrides_of(given, {"TUNNEL_EDGE": "b:2", "TUNNEL_LOGLEVEL": "warn"}) == {
        "retries": "3", "edge": ("a:1",), "loglevel": "warn",
    }  # fmt: skip


# -- whole processes -----------------------------------------------------------------------------------------------


class Process:
    """A running `pyconnector`, whose log is read line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []

    async def until(self, text: str, *, after: int = 0) -> str:
        """Return the first log line that has `text` in it."""
        assert self.process.stderr is not None
        async with asyncio.timeout(20):
            while True:
                for line in self.lines[after:]:
                    if text in line:
                        return line
                line = (await self.process.stderr.readline()).decode()
                assert line, f"no {text!r} in {self.lines}"
                self.lines.append(line)

    async def end(self, number: int) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return await self.code()

    async def code(self) -> int:
        async with asyncio.timeout(20):
            _, err = await self.process.communicate()
        self.lines += err.decode().splitlines()
        return self.process.returncode or 0


@contextlib.asynccontextmanager
async def running(*arguments: object, **environment: str) -> AsyncIterator[Process]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TUNNEL_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pyconnector", *map(str, arguments),
        cwd=ROOT, env=clean | environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield Process(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        process._transport.close()  # type: ignore[attr-defined]


def edge_for_tests() -> LocalEdge:
    tunnel = TunnelSettings(account_tag=ACCOUNT, tunnel_id=TUNNEL_ID, secret=SECRET)
    return LocalEdge(EdgeSettings(tunnels=(tunnel,)))


def flags(edge: LocalEdge) -> tuple[object, ...]:
    host, port = edge.quic_address
    return "--edge", f"{host}:{port}", "--cacert", edge.ca_path, "--metrics", "127.0.0.1:0"


async def test_run_serves_until_sigterm_and_reloads_on_sighup(tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"
    path = write_config(tmp_path, RULES, credentials=False)
    async with edge_for_tests() as edge:
        more = ("--pidfile", pidfile, "--ha-connections", "2")
        async with running("run", path, *flags(edge), *more, TUNNEL_TOKEN=token()) as process:
            await process.until("Registered tunnel connection connIndex=1")
            assert pidfile.read_text() == str(process.process.pid)
            assert await ask(edge) == 404
            path.write_text("ingress:\n  - service: http_status:299\n")
            process.process.send_signal(signal.SIGHUP)
            await process.until("The new rules are in force")
            assert await ask(edge) == 299
            path.write_text("ingress:\n  - servce: http_status:200\n")
            process.process.send_signal(signal.SIGHUP)
            line = await process.until("The new configuration is not used")
            assert f"{path}:2:5: ingress[0].servce" in line
            assert await ask(edge) == 299
            assert await process.end(signal.SIGTERM) == 0
            log = "".join(process.lines)
            assert "Initiating graceful shutdown due to signal SIGTERM" in log
            assert log.count("Unregistered tunnel connection") == 2
            assert token() not in log


async def ask(edge: LocalEdge) -> int:
    reader, writer = await asyncio.open_connection(*edge.visitor_address)
    writer.write(b"GET / HTTP/1.1\r\nHost: app.example\r\nConnection: close\r\n\r\n")
    head = await reader.read()
    writer.close()
    await writer.wait_closed()
    return int(head.split()[1])


async def test_the_access_log_goes_where_the_flag_or_the_file_says(tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    path = write_config(tmp_path, f"access-log: {file}\n{RULES}")
    async with edge_for_tests() as edge, running("run", path, *flags(edge), "--output", "json") as process:
        await process.until("Registered tunnel connection")
        assert await ask(edge) == 404
        assert await process.end(signal.SIGTERM) == 0
        (line,) = file.read_text().splitlines()
        assert json.loads(line)["status"] == 404
        assert "bytesOut" not in "".join(process.lines)
    found = invoke("run", write_config(tmp_path), "--access-log", tmp_path)
    assert (found.exit_code, found.stderr) == (1, f"error: cannot open the access log {tmp_path}: Is a directory\n")


async def test_an_edge_that_is_not_found_is_looked_up_until_a_signal(tmp_path: Path) -> None:
    nowhere = ("--edge", "does-not-exist.invalid:1", "--metrics", "127.0.0.1:0")
    async with running("run", write_config(tmp_path), *nowhere) as process:
        line = await process.until("Cannot find the edge: ")
        assert "does-not-exist.invalid:1: " in line
        assert "retryIn=" in line
        await process.until("Cannot find the edge: ", after=len(process.lines))
        assert await process.end(signal.SIGTERM) == 0


async def test_a_config_that_never_ends_holds_up_no_signal(tmp_path: Path) -> None:
    """A reload that reads a pipe nobody writes to."""

    path = write_config(tmp_path, RULES, credentials=False)
    async with edge_for_tests() as edge, running("run", path, *flags(edge), TUNNEL_TOKEN=token()) as process:
        await process.until("Registered tunnel connection")
        path.unlink()
        os.mkfifo(path)
        process.process.send_signal(signal.SIGHUP)
        await process.until("due to signal SIGHUP")
        assert await ask(edge) == 404
        assert await process.end(signal.SIGTERM) == 0


async def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    arrived = asyncio.Event()

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await reader.read()
        writer.close()

    origin = await asyncio.start_server(never, "127.0.0.1", 0)
    port = origin.sockets[0].getsockname()[1]
    path = write_config(tmp_path, f"ingress:\n  - service: http://127.0.0.1:{port}\n")
    async with edge_for_tests() as edge, running("run", path, *flags(edge), "--ha-connections", 1) as process:
        await process.until("Registered tunnel connection")
        asking = asyncio.ensure_future(ask(edge))
        await arrived.wait()
        process.process.send_signal(signal.SIGINT)
        await process.until("Unregistered tunnel connection")
        started = asyncio.get_running_loop().time()
        assert await process.end(signal.SIGINT) == 0
        assert asyncio.get_running_loop().time() - started < 5
        assert "Stopping at once due to a second signal" in "".join(process.lines)
        assert await asking >= 500
    origin.close()
    await origin.wait_closed()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signals_are_understood_before_anything_runs(tmp_path: Path, number: signal.Signals) -> None:
    """The config is a pipe that says nothing: it is read before there is an event loop."""

    pipe = tmp_path / "config.yml"
    os.mkfifo(pipe)
    async with running("run", pipe, TUNNEL_TOKEN=token()) as process, asyncio.timeout(20):
        while (writer := opened_for_writing(pipe)) is None:
            await asyncio.sleep(0.01)
        process.process.send_signal(signal.SIGHUP)
        process.process.send_signal(number)
        os.close(writer)  # whether the signal interrupted the reading or came just before it
        assert await process.code() == 0
        assert process.lines == []


def opened_for_writing(pipe: Path) -> int | None:
    """Return a file descriptor once somebody reads the pipe."""
    try:
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None


async def test_a_wrong_secret_and_an_untrusted_edge_are_one_sentence_each(tmp_path: Path) -> None:
    wrong = write_credentials(tmp_path, TunnelSecret="d3Jvbmc=")
    path = tmp_path / "c.yml"
    path.write_text(f"credentials-file: {wrong}\n{RULES}")
    async with edge_for_tests() as edge:
        async with running("run", path, *flags(edge)) as process:
            line = await process.until("The edge rejected the registration permanently")
            assert "Invalid tunnel secret; check the credentials connIndex=0" in line
            assert await process.end(signal.SIGTERM) == 0
        untrusting = [flag for flag in flags(edge) if flag not in ("--cacert", edge.ca_path)]
        async with running("run", path, *untrusting) as process:
            line = await process.until("The edge's certificate is not trusted")
            assert "--cacert" in line
            assert await process.end(signal.SIGTERM) == 0


async def test_run_local_needs_no_credentials_and_says_what_to_open(tmp_path: Path) -> None:
    path = write_config(tmp_path, "ingress:\n  - service: http_status:299\n", credentials=False)
    async with running("run", "--local", path, "--metrics", "127.0.0.1:0") as process:
        assert process.process.stdout is not None
        async with asyncio.timeout(20):
            text = ""
            while "curl" not in text:
                text += (await process.process.stdout.readline()).decode()
        address = re.search(r"http://127\.0\.0\.1:(\d+)/", text)
        assert address is not None
        reader, writer = await asyncio.open_connection("127.0.0.1", int(address[1]))
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 299")
        writer.close()
        await writer.wait_closed()
        assert await process.end(signal.SIGTERM) == 0


async def test_edge_runs_until_a_signal(tmp_path: Path) -> None:
    zero = ("--listen", "127.0.0.1:0", "--visitors", "127.0.0.1:0", "--control", "127.0.0.1:0")
    async with running("edge", "--tunnel", write_credentials(tmp_path), *zero) as process:
        assert process.process.stdout is not None
        async with asyncio.timeout(20):
            assert b"connectors: --edge 127.0.0.1:" in await process.process.stdout.readline()
        assert await process.end(signal.SIGTERM) == 0


def test_an_edge_flag_that_cannot_be_used_exits_2() -> None:
    found = invoke("edge", "--tunnel", "non:sense")
    assert found.exit_code == 2
    assert "neither ID:ACCOUNT:SECRET-FILE nor a credentials file" in found.stderr
    found = invoke("edge", "--tunnel", "nosuch.json")
    assert (found.exit_code, found.stderr) == (2, "--tunnel: the credentials file nosuch.json does not exist\n")
    found = invoke("edge", "--any-credentials", "--visitors", "nosuch.invalid:8080")
    assert found.exit_code == 1
    assert "nosuch.invalid:8080: " in found.stderr, "whatever the resolver calls it"


async def test_a_metrics_address_in_use_exits_1(tmp_path: Path) -> None:
    taken = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    async with running(
        "run", write_config(tmp_path), "--edge", "127.0.0.1:9", "--metrics", f"127.0.0.1:{port}"
    ) as process:
        assert await process.code() == 1
        assert f"FTL cannot serve metrics on 127.0.0.1:{port}: " in process.lines[-1]
    taken.close()
    await taken.wait_closed()
