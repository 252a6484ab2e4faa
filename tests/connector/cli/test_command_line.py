"""The command line as service files, containers, scripts and shells write it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import signal
import socket
import stat
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import click
import pytest

from pyconnector import load_config
from pyconnector.connector.cli import run as run_module
from pyconnector.connector.cli.commands import main
from pyconnector.connector.cli.options import overrides_of
from pyconnector.connector.config.credentials import from_file
from pyconnector.connector.version import version
from pyconnector.control.login.cert_pem import OriginCert, encode
from pyconnector.ingress.config.single_origin import normalise_url
from tests.connector.cli.test_cli import _no_environment, invoke, running
from tests.connector.configs import RULES, write_config

__all__ = ["_no_environment"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What `run` was asked for, in place of running."""
    found: list[tuple[Any, ...]] = []

    def run(path: str | None, given: dict[str, Any], *, tunnel: str | None = None) -> int:
        found.append((path, given, tunnel))
        return 0

    monkeypatch.setattr(run_module, "run", run)
    return found


@pytest.mark.parametrize(
    ("line", "path", "given", "tunnel"),
    [
        ("--no-autoupdate --config c.yml tunnel run", "c.yml", {"no_autoupdate": True}, None),
        ("--no-autoupdate=true tunnel run --token-file t", None, {"no_autoupdate": "true", "token_file": "t"}, None),
        ("-config c.yml -loglevel=debug tunnel run NAME", "c.yml", {"loglevel": "debug"}, "NAME"),
        ("--config outer.yml tunnel --config inner.yml run", "inner.yml", {}, None),
        ("tunnel --retries 1 --edge a:1 run --retries 2", None, {"retries": "2", "edge": ("a:1",)}, None),
        ("--loglevel debug tunnel --loglevel warn run --loglevel error", None, {"loglevel": "error"}, None),
        ("--config c.yml --hello-world=false run", "c.yml", {"hello_world": "false"}, None),
        ("--grace-period 5s run c.yml", "c.yml", {"grace_period": "5s"}, None),
        ("run c.yml --metrics localhost:1", "c.yml", {"metrics": "localhost:1"}, None),
    ],
)
def test_flags_stand_where_the_reference_takes_them(
    asked: list[tuple[Any, ...]], line: str, path: str | None, given: dict[str, Any], tunnel: str | None
) -> None:
    for _ in range(2):  # the options of a command are made once
        found = invoke(*line.split())
        assert found.exit_code == 0, found.output
        assert asked.pop() == (path, given, tunnel)


def test_a_switch_that_is_neither_true_nor_false_is_an_error(tmp_path: Path) -> None:
    found = invoke("--no-autoupdate=maybe", "run", write_config(tmp_path))
    assert found.exit_code == 2
    assert '--no-autoupdate expects true or false, not "maybe"' in found.stderr


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("tunnel --url http://localhost:8000 --quick-service ftp://x", "--quick-service is a URL"),
        ("tunnel --hello-world --quick-service nonsense", "--quick-service is a URL"),
        ("tunnel", "tunnel needs a command: `tunnel run` connects"),
        ("tunnel health", "`tunnel health` is about an account of the provider"),
        ("tunnel health", "`pyconnector edge new-tunnel FILE`"),
        ("--loglevel debug edge", "no flags can stand before the command edge"),
        ("tunnel ready", "--metrics"),
        ("ready --metrics localhost:0", "stands for any free port"),
        ("ready --metrics nonsense:x", "--metrics: "),
    ],
)
def test_what_cannot_be_done_is_one_clear_sentence(line: str, sentence: str) -> None:
    found = invoke(*line.split())
    assert found.exit_code == 2
    assert sentence in found.stderr
    assert "Traceback" not in found.output


def test_every_way_to_ask_for_the_version_says_the_same() -> None:
    said = {invoke(*arguments).output for arguments in (["version"], ["--version"], ["-v"], ["-V"])}
    assert said == {f"pyconnector {version()}\n"}
    assert invoke("version", "--short").output == f"{version()}\n"


def test_no_help_of_a_command_is_cut() -> None:
    def look(group: click.Group, words: tuple[str, ...]) -> None:
        shown = invoke(*words, "--help").output.partition("Commands:")[2]
        assert [line for line in shown.splitlines() if "..." in line] == [], words
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            if isinstance(command, click.Group):
                seen.append(name)
                look(command, (*words, name))

    seen: list[str] = []
    look(main, ())
    assert {"ingress", "edge", "tunnel", "access", "mesh", "device"} <= set(seen)


# -- ready ---------------------------------------------------------------------------------------------------------


class Status:
    code = 200


@pytest.fixture
def metrics() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"readyConnections":4}' if self.path == "/ready" else b"wrong page"
            self.send_response(Status.code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
@pytest.mark.parametrize("form", ["ready --metrics A", "tunnel --metrics A ready", "tunnel ready --config C", "env"])
def test_ready_tells_whether_a_connector_is_connected(
    metrics: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, status: int, code: int
) -> None:
    monkeypatch.setattr(Status, "code", status)
    config = tmp_path / "c.yml"
    config.write_text(f"metrics: {metrics}\n{RULES}")
    if form == "env":
        monkeypatch.setenv("TUNNEL_METRICS", metrics)
        form = "ready"
    found = invoke(*form.replace("A", metrics).replace("C", str(config)).split())
    assert found.exit_code == code
    assert '{"readyConnections":4}' in (found.stderr if code else found.stdout)


def test_a_connector_that_is_not_there_is_not_ready() -> None:
    found = invoke("ready", "--metrics", "127.0.0.1:1")
    assert (found.exit_code, found.stderr) == (1, "error: no connector answers at 127.0.0.1:1: connection refused\n")


# -- new-tunnel ----------------------------------------------------------------------------------------------------


def test_a_new_tunnel_is_its_owners_alone_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    found = invoke("edge", "new-tunnel", path)
    credentials = from_file(str(path))
    assert (found.exit_code, found.stderr) == (0, "")
    assert f"tunnel {credentials.tunnel_id}" in found.output
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert len(credentials.secret) == 32
    again = invoke("edge", "new-tunnel", path)
    assert (again.exit_code, again.stderr) == (1, f"error: {path} is there already and is left as it is\n")
    assert from_file(str(path)) == credentials
    nowhere = invoke("edge", "new-tunnel", tmp_path / "none" / "x")
    assert (nowhere.exit_code, "no such file" in nowhere.stderr) == (1, True)


def test_tunnel_is_among_the_commands() -> None:
    assert re.search(r"^  tunnel +Make, list", invoke("--help").output, re.MULTILINE)


def test_lines_to_copy_quote_a_path_with_blanks(tmp_path: Path) -> None:
    path = tmp_path / "the credentials.json"
    said = invoke("edge", "new-tunnel", str(path)).output
    assert f"--tunnel '{path}'" in said
    assert f"--credentials-file '{path}'" in said


@pytest.mark.parametrize("command", ["join", "tcp"])
def test_a_port_that_is_taken_is_one_sentence(command: str, tmp_path: Path) -> None:
    token = tmp_path / "token.json"
    invoke("edge", "new-token", "agent", str(token))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        arguments: tuple[str, ...]
        if command == "join":
            arguments = ("mesh", "join", "https://127.0.0.1:1", "--token-file", str(token), "--listen", place)
        else:
            arguments = ("access", "tcp", "--hostname", "db.localhost", "--url", place)
        said = invoke(*arguments)
    assert said.exit_code == 1
    assert said.stderr.endswith(f" {place}: Address already in use\n")


def test_an_api_that_is_not_there_is_told_without_numbers(tmp_path: Path) -> None:
    cert = tmp_path / "cert.pem"
    fields = OriginCert(zone_id="z", account_id="a", api_token="t", api_url="http://127.0.0.1:1/client/v4")
    cert.write_text(encode(fields))
    said = invoke("tunnel", "list", "--origincert", cert)
    assert said.exit_code == 1
    assert said.stderr.endswith("REST request failed: Connection refused\n")


def test_a_certificate_in_the_environment_is_no_mistake_of_the_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNNEL_ORIGIN_CERT", "cert.pem")
    path = write_config(tmp_path, RULES)
    assert load_config(str(path), overrides_of({})).warnings == ()


def test_help_writes_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert invoke("edge", "new-tunnel", "--help").exit_code == 0
    assert list(tmp_path.iterdir()) == []


# -- shells --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("run --loglevel d", "plain,debug"),
        ("run --quic-engine q", "plain,qh3"),
        ("run ", "file,"),
        ("run --cacert ", "file,"),
        ("run --log-directory ", "dir,"),
        ("ingress val", "plain,validate"),
    ],
)
async def test_a_shell_is_offered_files_and_words(words: str, offered: str) -> None:
    environment = {"COMP_WORDS": f"pyconnector {words}", "COMP_CWORD": str(len(words.split(" ")))}
    environment["_PYCONNECTOR_COMPLETE"] = "bash_complete"

    async def scenario() -> bytes:
        async with running(**environment) as process:
            output, _ = await process.process.communicate()
            return output

    assert (await scenario()).decode().splitlines()[0] == offered


# -- run --local ---------------------------------------------------------------------------------------------------


async def test_run_local_says_what_to_open_once_everything_is_up(tmp_path: Path) -> None:
    path = write_config(tmp_path, RULES, credentials=False)
    errors = tmp_path / "errors"
    with errors.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *_command("run", "--local", path, "--metrics", "127.0.0.1:0"),
            stdout=asyncio.subprocess.PIPE, stderr=stderr, cwd=tmp_path,
        )  # fmt: skip
    assert process.stdout is not None
    async with asyncio.timeout(30):
        text = ""
        while "Ctrl-C" not in text:
            text += (await process.stdout.readline()).decode()
    log = errors.read_text()
    assert log.count("Registered tunnel connection") == 4
    assert re.search(r"\n  curl http://127\.0\.0\.1:\d+/ ", text)
    process.send_signal(signal.SIGHUP)
    async with asyncio.timeout(30):
        while "The new rules are in force" not in errors.read_text():
            await asyncio.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    await process.communicate()
    assert process.returncode == 0
    log = errors.read_text()
    assert "takes effect after a restart" not in log
    assert "registered for tunnel" not in log  # the edge's words for what the connector has told already


def _command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "pyconnector", *map(str, arguments)]


@pytest.mark.parametrize(("url", "service"), [("8000", "http://localhost:8000"), ("70000", None), ("0", None)])
def test_a_number_alone_is_a_port_of_this_machine(url: str, service: str | None) -> None:
    if service is None:
        with pytest.raises(ValueError, match="is no port"):
            normalise_url(url)
    else:
        assert normalise_url(url) == service


def test_a_new_token_s_secret_is_in_its_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "token.json"
    found = invoke("edge", "new-token", "agent-01", path)
    assert found.exit_code == 0
    written = json.loads(path.read_text())
    assert path.stat().st_mode & 0o777 == 0o600
    assert written["client_secret"] not in found.output
    entry = json.loads(found.output.splitlines()[-1])
    assert entry["secret_sha256"] == hashlib.sha256(written["client_secret"].encode()).hexdigest()
    assert (entry["client_id"], entry["name"]) == (written["client_id"], "agent-01")
    assert invoke("edge", "new-token", "agent-01", path).exit_code != 0
    assert json.loads(path.read_text()) == written
