"""The examples do what they say: programs run, configs are valid, rules do what their comments claim."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from pyconnector.connector.cli import main
from pyconnector.connector.config.schema import file_schema
from pyconnector.ingress import parse_ingress
from pyconnector.ingress.rules.rewrite import Redirect, TargetRewriter

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
CONFIGS = sorted(EXAMPLES.glob("*/config.yaml"))


def run(program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / program), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_demo_gets_a_request_through_and_ends() -> None:
    done = run("demo.py", DEMO_ONCE="1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "You asked for /first" in done.stdout


def test_a_connector_in_another_program() -> None:
    done = run("embed.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert "before: 200 text/html" in done.stdout
    assert "after:  204" in done.stdout
    assert "2 requests over 2 connections" in done.stdout


def test_two_tunnels_in_one_process() -> None:
    done = run("two_tunnels.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["one.example 201", "two.example 202"]


def test_a_private_tool_is_for_its_friends_alone() -> None:
    done = run("private_tool.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "nobody: 403",
        "somebody who only claims to be dev: 403",
        "a colleague: 403 ask for access first",
        "dev: 200 hello dev@example.com",
    ]
    lines = done.stderr.splitlines()
    assert len(lines) == 4, done.stderr
    assert "identityKind=user identity=dev@example.com" in lines[3]
    assert "secret" not in done.stderr


def test_there_are_configs() -> None:
    assert {path.parent.name for path in CONFIGS} >= {"access", "demo", "opt-in", "services"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.parent.name)
def test_every_example_config_is_valid_without_a_warning(path: Path) -> None:
    found = CliRunner().invoke(main, ["ingress", "validate", str(path)])
    assert (found.exit_code, found.stderr) == (0, "")
    assert found.stdout.splitlines()[-1] == "OK"
    assert set(yaml.safe_load(path.read_text())) <= set(file_schema()["properties"])


def test_the_example_of_the_issue_has_an_application_a_database_and_404() -> None:
    config = yaml.safe_load((EXAMPLES / "demo" / "config.yaml").read_text())
    schemes = [rule["service"].partition(":")[0] for rule in config["ingress"]]
    assert schemes == ["http", "tcp", "http_status"]


def test_the_opt_in_example_rewrites_as_its_comments_say() -> None:
    ingress = parse_ingress(yaml.safe_load((EXAMPLES / "opt-in" / "config.yaml").read_text()))
    rewriter = TargetRewriter.of(ingress.rules[0].settings)
    assert rewriter.rewrite("/app/x?y=1") == "/x?y=1"
    assert rewriter.rewrite("/app/old/page") == Redirect(308, "/app/new/page")


def test_the_access_example_leaves_the_health_page_open_and_nothing_else() -> None:
    ingress = parse_ingress(yaml.safe_load((EXAMPLES / "access" / "config.yaml").read_text()))
    required = [rule.settings.access is not None and rule.settings.access.required for rule in ingress.rules]
    assert required == [False, True, True, True]


def test_the_rules_of_the_demo_can_be_explained() -> None:
    config = str(EXAMPLES / "demo" / "config.yaml")
    found = CliRunner().invoke(main, ["ingress", "rule", config, "https://db.localhost/"])
    assert "Matched rule #1" in found.stdout
    assert 'Not rule #0: the host "db.localhost" is not "app.localhost"' in found.stdout
    assert json.loads(CliRunner().invoke(main, ["ingress", "validate", "--json", config]).stdout)["ok"] is True


def test_a_token_of_an_edge_is_verified_for_real() -> None:
    from tests.support.identity.access import AUDIENCE, ISSUER, Team

    team = Team(now=time.time())

    class Keys(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(team.document())

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Keys)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    service: dict[str, Any] = {"sub": "", "email": None, "common_name": "x.access", "custom": {"role": "reader"}}
    good = team.token(**service)
    expired = team.token(**service, exp=team.now - 3600)
    try:
        for token, audience, code, said in (
            (good, AUDIENCE, 0, "x.access, role reader"),
            (good, "0" * 64, 1, "refused"),
            (expired, AUDIENCE, 1, "refused"),
            (team.token(**service, iss="https://other.example"), AUDIENCE, 1, "refused"),
            (team.token(**service, type="org"), AUDIENCE, 1, "refused"),
            (good[:-4], AUDIENCE, 1, "refused"),
        ):
            done = subprocess.run(
                [sys.executable, str(EXAMPLES / "verify_session.py"),
                 f"http://127.0.0.1:{server.server_port}/certs", ISSUER, audience],
                env={**os.environ, "PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1"},
                input=token, capture_output=True, timeout=60, check=False,
            )  # fmt: skip
            assert done.returncode == code, done.stderr
            assert said in (done.stdout + done.stderr).decode()
    finally:
        server.shutdown()
        server.server_close()
