"""`pyconnector audit`: what people ask of a log, and what it says while an edge writes to it."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pyconnector.connector.cli.audit import lines as lines_module
from pyconnector.connector.cli.audit.conditions import ConditionError, fits, parse_condition, parse_moment
from pyconnector.connector.cli.audit.lines import Follower, last_records
from pyconnector.connector.cli.commands import main
from pyconnector.edge.audit.files import AuditFiles, log_files


def row(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "Datetime": f"2027-01-15T08:{number // 60:02}:{number % 60:02}.000Z", "RayID": f"r{number}",
        "SourceIP": "192.0.2.1", "HTTPMethod": "GET", "HTTPHost": "a.test", "URL": f"/{number}",
        "HTTPStatusCode": 200 + number, "Action": "allow", "Allowed": True, "Reason": "no_application", "n": number,
        **fields,
    }  # fmt: skip


@pytest.fixture
def log(tmp_path: Path) -> AuditFiles:
    files = AuditFiles(tmp_path, file_size=2000)
    for number in range(30):
        files.write([row(number)])
    return files


def told(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["audit", *arguments])
    return result.exit_code, result.output


@pytest.mark.parametrize("piece", [7, 100, 10**6])
def test_the_last_records_are_read_from_the_end(
    tmp_path: Path, log: AuditFiles, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines_module, "PIECE", piece)
    paths = log_files(tmp_path)
    assert len(paths) > 3
    for count in (0, 1, 9, 30, 99):
        assert [record["n"] for record in last_records(paths, count)] == list(range(30))[30 - min(count, 30) :]


def test_following_shows_each_record_once_and_new_files_too(tmp_path: Path, log: AuditFiles) -> None:
    follower = Follower(log_files(tmp_path))
    before = len(log_files(tmp_path))
    seen: list[int] = []
    for number in range(30, 45):
        log.write([row(number)])
        seen += [record["n"] for record in follower.new(log_files(tmp_path))]
    assert seen == list(range(30, 45))
    assert len(log_files(tmp_path)) > before
    with log_files(tmp_path)[-1].open("ab") as file:
        file.write(b'{"Datetime":"2027')
    assert list(follower.new(log_files(tmp_path))) == []


def test_a_line_that_is_being_written_is_no_damage(tmp_path: Path, log: AuditFiles) -> None:
    with log_files(tmp_path)[-1].open("ab") as file:
        file.write(b'{"Datetime":"2027')
    assert told("verify", str(tmp_path))[0] == 0
    log.close()
    code, text = told("verify", str(tmp_path))
    assert (code, "cut off" in text) == (1, True)


def test_a_digest_kept_elsewhere_has_to_be_there_still(tmp_path: Path, log: AuditFiles) -> None:
    kept = log.chain
    log.write([row(30)])
    assert told("verify", str(tmp_path), "--last", kept)[0] == 0
    log.close()
    code, text = told("verify", str(tmp_path), "--last", kept)
    assert (code, "added behind" in text) == (0, True)
    lines = log_files(tmp_path)[-1].read_bytes().splitlines(keepends=True)
    log_files(tmp_path)[-1].write_bytes(b"".join(lines[:-2]))
    code, text = told("verify", str(tmp_path), "--last", kept)
    assert (code, "lines are missing" in text) == (1, True)


def test_a_log_without_its_oldest_files_says_so(tmp_path: Path, log: AuditFiles) -> None:
    log.close()
    log_files(tmp_path)[0].unlink()
    code, text = told("verify", str(tmp_path))
    assert (code, "begins with file 2" in text) == (0, True)


def test_searching_compares_numbers_and_moments(tmp_path: Path, log: AuditFiles) -> None:
    def found(*arguments: str) -> list[int]:
        code, text = told("search", str(tmp_path), "--json", *arguments)
        assert code == 0, text
        return [json.loads(line)["n"] for line in text.splitlines()]

    assert found("-w", "HTTPStatusCode>=228") == [28, 29]
    assert found("-w", "HTTPStatusCode<201") == [0]
    assert found("-w", "URL!=/1*", "-w", "n<3") == [0, 2]
    assert found("--since", "2027-01-15T08:00:28Z") == [28, 29]
    assert found("--until", "2027-01-15T08:00:01Z") == [0, 1]
    _, text = told("search", str(tmp_path), "-w", "HTTPStatuscode=200")
    assert "No record has a field HTTPStatuscode; did you mean HTTPStatusCode?" in text
    assert told("search", str(tmp_path), "-w", "HTTPStatusCode>=x")[0] == 2
    assert told("search", str(tmp_path), "--since", "yesterday")[0] == 2
    _, text = told("tail", str(tmp_path), "-n", "2", "-w", "n<10")
    assert [line.split("a.test")[1].split()[0] for line in text.splitlines()] == ["/8", "/9"]


def test_private_flows_are_shown_as_what_they_are(tmp_path: Path) -> None:
    files = AuditFiles(tmp_path)
    flow = {
        "Datetime": "2027-01-15T08:00:00.000Z", "SourceIP": "192.0.2.1", "Protocol": "TCP", "RequestedHost": "db.corp",
        "OriginPort": 5432, "Action": "block", "Reason": "no_network_rule", "ClaimedUser": "x.access",
        "ConnectionCloseReason": "PROXY_CONN_REFUSED",
    }  # fmt: skip
    files.write([flow, {"Datetime": "2027-01-15T08:00:01.000Z", "AuditRecordsLost": 7}, row(1, URL="/\x1b[2J")])
    files.close()
    code, text = told("tail", str(tmp_path))
    assert code == 0
    assert text.splitlines() == [
        "2027-01-15T08:00:00.000Z  192.0.2.1  x.access  TCP db.corp:5432  block PROXY_CONN_REFUSED no_network_rule",
        "2027-01-15T08:00:01.000Z  7 records were lost before this",
        "2027-01-15T08:00:01.000Z  192.0.2.1  -  GET a.test/?[2J  allow 201 no_application",
    ]


@pytest.mark.parametrize(
    ("text", "record", "wanted"),
    [
        ("A=x*", {"A": "xyz"}, True), ("A=x", {"A": "xyz"}, False), ("A!=x", {}, True), ("A=", {}, True),
        ("L=b", {"L": ["a", "b"]}, True), ("L!=b", {"L": ["a"]}, True), ("B=true", {"B": True}, True),
        ("N>3", {"N": 4}, True), ("N>3", {"N": "4"}, False), ("N<=3", {"N": 3.0}, True), ("B>0", {"B": True}, False),
    ],
)  # fmt: skip
def test_conditions(text: str, record: dict[str, Any], wanted: bool) -> None:
    assert fits(record, [parse_condition(text)]) is wanted


def test_moments() -> None:
    now = datetime.datetime(2027, 1, 15, 8, tzinfo=datetime.UTC)
    assert parse_moment("15m", now) == "2027-01-15T07:45:00.000Z"
    assert parse_moment("2027-01-15T09:00+01:00", now) == "2027-01-15T08:00:00.000Z"
    for wrong in ("", "soon", "5y"):
        with pytest.raises(ConditionError):
            parse_moment(wrong, now)
