"""`pyconnector ingress validate` on the broken configs: every problem, with the line and column of what is wrong.

Each file says at its top what it must be told: `# expect LINE:COLUMN: place: sentence`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from pyconnector.connector.cli import main

FILES = sorted((Path(__file__).parents[2] / "ingress" / "broken").glob("*.yaml"))
MARK = re.compile(r"# expect ((\d+):(\d+): (.*))")


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TUNNEL_URL", "TUNNEL_HELLO_WORLD", "TUNNEL_BASTION", "TUNNEL_UNIX_SOCKET"):
        monkeypatch.delenv(name, raising=False)


def expected_of(file: Path) -> list[re.Match[str]]:
    """What the file must be told, in the order of its lines."""
    found = [match for line in file.read_text().splitlines() if (match := MARK.fullmatch(line))]
    return sorted(found, key=lambda match: (int(match[2]), int(match[3])))


def test_there_are_enough_of_them() -> None:
    assert len(FILES) >= 30
    assert all(expected_of(file) for file in FILES)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_problem_is_told_in_order_with_its_line_and_column(file: Path) -> None:
    found = CliRunner().invoke(main, ["ingress", "validate", str(file)])
    assert found.exit_code == 2
    lines = [line for line in found.stderr.splitlines() if not line.startswith("warning: ")]
    assert lines == [f"{file}:{match[1]}" for match in expected_of(file)]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_line_and_column_are_those_of_the_wrong_key_or_value(file: Path) -> None:
    lines = file.read_text().splitlines()
    for match in expected_of(file):
        line, column, place = int(match[2]), int(match[3]), match[4].split(": ")[0]
        last_key = re.sub(r"\[\d+\]$", "", place).rpartition(".")[2]
        before, here = lines[line - 1][: column - 1], lines[line - 1][column - 1 :]
        at_key = re.match(rf"(['\"]?){re.escape(last_key)}\1:", here)
        at_value = re.search(rf"\b{re.escape(last_key)}:\s+(\[(.*, )?)?$", before) and here[:1].strip()
        at_item = before.endswith("- ")
        assert at_key or at_value or at_item, f"{place} is not at {lines[line - 1]!r} column {column}"


def test_editors_get_the_same_as_json() -> None:
    file = next(file for file in FILES if file.stem == "several-at-once")
    found = CliRunner().invoke(main, ["ingress", "validate", "--json", str(file)])
    value = json.loads(found.stdout)
    assert (found.exit_code, value["ok"]) == (2, False)
    for problem, match in zip(value["problems"], expected_of(file), strict=True):
        assert (problem["line"], problem["column"]) == (int(match[2]), int(match[3]))
        assert problem["file"] == str(file)
        assert problem["severity"] == "error"
        assert problem["message"] in match[4]
        assert (problem["suggestion"] == "") != match[4].endswith(f"did you mean {problem['suggestion']}?")


def test_settings_beside_the_rules_are_checked_too(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        "loglevel: loud\nprotocol: tcp\ngrace-period: 4m\nedge: ['a:x']\ntag: [b]\n"
        "cacert: /not/on/this/machine\ncredentials-file: /neither\nautoupdate-freq: 24h\n"
        "ingress:\n  - service: http_status:404\n"
    )
    found = CliRunner().invoke(main, ["ingress", "validate", str(config)])
    assert found.exit_code == 2
    warning, *problems = found.stderr.splitlines()
    assert warning == f"warning: {config}: no effect in this connector: autoupdate-freq"
    assert [line.removeprefix(f"{config}:").split(": ")[:2] for line in problems] == [
        ["1:11", "loglevel"], ["2:11", "protocol"], ["3:15", "grace-period"], ["4:8", "edge[0]"], ["5:7", "tag[0]"],
    ]  # fmt: skip


def test_a_config_without_rules_is_told_so_beside_its_other_problems(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("warp-routing:\n  maxActiveFlows: -1\n")
    found = CliRunner().invoke(main, ["ingress", "validate", str(config)])
    assert found.stderr.splitlines() == [
        f"{config}: ingress: the config holds no ingress rules",
        f"{config}:2:19: warp-routing.maxActiveFlows: expected a number of flows, found the number -1",
    ]
