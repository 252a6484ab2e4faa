"""`pyconnector run` with files that cannot be used: one clear sentence, exit code 2, nothing started."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pyconnector.connector.cli import main
from tests.support.houses.house import SECRET_TEXT, TUNNEL_ID

RULES = "ingress:\n  - service: http_status:404\n"
GOOD = {"AccountTag": "tests", "TunnelSecret": SECRET_TEXT, "TunnelID": str(TUNNEL_ID)}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("TUNNEL_", "PYCONNECTOR_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def run(*arguments: object) -> Result:
    """Run a command that must fail, with nothing but sentences on stderr."""
    found = CliRunner().invoke(main, ["run", *map(str, arguments)])
    assert found.exit_code == 2, found.output
    assert found.stdout == ""
    assert "Traceback" not in found.stderr
    return found


def the_sentence(found: Result) -> str:
    (line,) = found.stderr.splitlines()
    return line


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(0o400)
    return path


def credentials(tmp_path: Path) -> Path:
    return write(tmp_path / "credentials.json", json.dumps(GOOD))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("ingress: [1\nx: 2\n", "config.yml:2:2: not valid YAML: a { or [ is not closed"),
        ("a: 1\n\tb: 2\n", "config.yml:2:1: not valid YAML: a tab cannot be used here"),
        ("a: 1\na: 2\n", "config.yml:2:1: a: "),
        ("x: *nowhere\n", "config.yml:1:4: not valid YAML: "),
        ("x: !!python/object/apply:os.system [id]\n", "config.yml:1:"),
        (b"\xff\xfe\x00", "config.yml:1:1: not valid YAML: it is not UTF-8 text"),
        (b"a: \x00\n", "config.yml"),
        ("- a list\n", "config.yml:1:1: "),
        ("just words\n", "config.yml:1:1: "),
        ("x: " + "[" * 500 + "]" * 500, "config.yml: the values are nested too deeply"),
    ],
)
def test_yaml_that_cannot_be_read(tmp_path: Path, content: str | bytes, expected: str) -> None:
    path = write(tmp_path / "config.yml", content)
    sentence = the_sentence(run(path, "--credentials-file", credentials(tmp_path)))
    assert sentence.startswith(f"{tmp_path}/{expected}")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("ingress: 3\n", "1:10: ingress"),
        ("ingress:\n  - 3\n", "2:5: ingress[0]"),
        ("ingress:\n  - service: [a]\n", "2:5: ingress[0].service"),
        ("ingress:\n  - service: http_status:99\n", "2:14: ingress[0].service"),
        (
            "ingress:\n  - service: http_status:200\n    path: (\n  - service: http_status:404\n",
            "3:11: ingress[0].path",
        ),
        ("ingress:\n  - service: http_status:200\n    hostname: [x]\n", "3:5: ingress[0].hostname"),
        ("originRequest: yes\n" + RULES, "1:16: originRequest"),
        ("originRequest:\n  connectTimeout: true\n" + RULES, "2:19: originRequest.connectTimeout"),
        ("originRequest:\n  noTLSVerify: perhaps\n" + RULES, "2:16: originRequest.noTLSVerify"),
        ("originRequest:\n  acess: {}\n" + RULES, "2:3: originRequest.acess"),
        ("tunnel: [1]\n" + RULES, "1:1: tunnel"),
        ("grace-period: soon\n" + RULES, "1:15: grace-period"),
        ("ha-connections: many\n" + RULES, "1:17: ha-connections"),
        ("edge: 5\n" + RULES, "1:7: edge"),
    ],
)
def test_a_value_of_the_wrong_type_has_its_place(tmp_path: Path, text: str, place: str) -> None:
    path = write(tmp_path / "config.yml", text)
    sentence = the_sentence(run(path, "--credentials-file", credentials(tmp_path)))
    assert sentence.startswith(f"{tmp_path}/config.yml:{place}: ")


def unreadable(path: Path) -> Path:
    """A file that cannot be read by this user, or a folder where there is no such file (for root)."""
    if os.geteuid():
        write(path, "x").chmod(0)
    else:
        path.mkdir(mode=0o700)
    return path


def missing(path: Path) -> Path:
    return path


@pytest.mark.parametrize(("make", "reason"), [(missing, "there is no such"), (unreadable, "directory|Permission")])
def test_a_config_file_that_is_missing_or_unreadable(tmp_path: Path, make: Callable[[Path], Path], reason: str) -> None:
    sentence = the_sentence(run(make(tmp_path / "c.yml")))
    assert sentence.startswith(f"{tmp_path}/c.yml: ")
    assert any(part in sentence for part in reason.split("|"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "does not exist"),
        (b"\xff\xfe{}", "not valid JSON"),
        ('{"AccountTag": "x"', "not valid JSON"),
        ("[]", "not a JSON object"),
        ("{}", "lack"),
        (json.dumps(GOOD | {"AccountTag": 5}), "AccountTag"),
        (json.dumps(GOOD | {"TunnelSecret": "***"}), "TunnelSecret is not base64"),
        (json.dumps(GOOD | {"TunnelID": "nope"}), "TunnelID is not a UUID"),
    ],
)
def test_credentials_that_cannot_be_used(tmp_path: Path, content: str | bytes | None, reason: str) -> None:
    path = tmp_path / "credentials.json"
    if content is not None:
        write(path, content)
    found = run(write(tmp_path / "config.yml", RULES), "--credentials-file", path)
    assert reason in the_sentence(found)
    assert str(path) in found.stderr
    assert "***" not in found.stderr


def test_an_unreadable_credentials_file(tmp_path: Path) -> None:
    found = run(write(tmp_path / "config.yml", RULES), "--credentials-file", unreadable(tmp_path / "c.json"))
    assert "cannot be read" in the_sentence(found)


def test_no_credentials_at_all(tmp_path: Path) -> None:
    sentence = the_sentence(run(write(tmp_path / "config.yml", RULES)))
    assert sentence.endswith("no tunnel credentials: set credentials-file, or give TUNNEL_TOKEN")


@pytest.mark.parametrize("flag", [("--edge", "host:port"), ("--cacert", "/nowhere.pem"), ("--quic-engine", "steam")])
def test_a_flag_that_cannot_be_used(tmp_path: Path, flag: tuple[str, str]) -> None:
    found = run(write(tmp_path / "config.yml", RULES), "--credentials-file", credentials(tmp_path), *flag)
    assert the_sentence(found).startswith(f"{flag[0]}: ")
