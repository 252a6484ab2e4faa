from __future__ import annotations

import io
import json
import logging
import sys
from pathlib import Path

import pytest

from pyconnector.connector.api.errors import StartFailed
from pyconnector.connector.config import LogConfig
from pyconnector.connector.observe.log import (
    MASK,
    MAX_VALUE_CHARS,
    ROOT,
    ConsoleFormatter,
    JsonFormatter,
    Log,
    LogSetup,
    fields,
)


def record(message: str, **values: object) -> logging.LogRecord:
    made = logging.LogRecord(f"{ROOT}.x", logging.INFO, "", 0, message, (), None)
    made.created = 1_795_514_400.0
    made.fields = values
    return made


def console(message: str, **values: object) -> str:
    return ConsoleFormatter().format(record(message, **values))


def test_a_line_is_time_level_message_and_fields() -> None:
    line = console("Registered tunnel connection", connIndex=0, location="LHR", note="two words")
    assert line == '2026-11-24T10:00:00Z INF Registered tunnel connection connIndex=0 location=LHR note="two words"'


def test_what_a_peer_sent_stays_on_its_line_and_does_nothing_to_the_terminal() -> None:
    line = console("cause: a\nb\x1b[31m", host='x"y\r\n')
    assert line == '2026-11-24T10:00:00Z INF cause: a\\nb\\x1b[31m host="x\\"y\\\\r\\\\n"'
    assert console("x", host="\udce9").isprintable()


def test_secrets_are_masked_and_long_values_cut() -> None:
    assert console("x", token="sesame").endswith(f"token={MASK}")
    assert "sesame" not in JsonFormatter().format(record("x", secret="sesame"))
    assert len(console("x", text="y" * 10 * MAX_VALUE_CHARS)) < 2 * MAX_VALUE_CHARS


def test_json_lines_have_sorted_keys() -> None:
    entry = JsonFormatter().format(record("hello", connIndex=3, ip="1.2.3.4"))
    assert json.loads(entry) == {
        "connIndex": 3, "ip": "1.2.3.4", "level": "info", "message": "hello", "time": "2026-11-24T10:00:00Z",
    }  # fmt: skip
    assert list(json.loads(entry)) == sorted(json.loads(entry))


def test_a_traceback_follows_its_line() -> None:
    try:
        raise ValueError("a defect")
    except ValueError:
        made = logging.LogRecord("x", logging.ERROR, "", 0, "failed", (), sys.exc_info())
    assert "\nTraceback" in ConsoleFormatter().format(made)
    assert "Traceback" in json.loads(JsonFormatter().format(made))["stack"]


def test_a_logger_adds_its_own_fields(caplog: pytest.LogCaptureFixture) -> None:
    log = Log("x", {"connIndex": 1}).bound(ip="a")
    with caplog.at_level(logging.INFO, ROOT):
        log.info("hello", **fields(location="LHR", empty="", none=None))
    assert caplog.records[0].fields == {"connIndex": 1, "ip": "a", "location": "LHR"}  # type: ignore[attr-defined]


def test_setting_up_touches_no_root_logger_and_can_be_undone(tmp_path: Path) -> None:
    root_before, ours = list(logging.getLogger().handlers), logging.getLogger(ROOT)
    before = list(ours.handlers)
    stream = io.StringIO()
    setup = LogSetup(LogConfig(level="warn", file=str(tmp_path / "deep" / "log")), stream)
    Log("x").info("unheard")
    Log("x").warning("heard")
    setup.close()
    setup.close()
    assert "heard" in stream.getvalue()
    assert "unheard" not in stream.getvalue()
    assert json.loads((tmp_path / "deep" / "log").read_text())["message"] == "heard"
    assert list(ours.handlers) == before
    assert list(logging.getLogger().handlers) == root_before
    ours.setLevel(logging.NOTSET)


def test_a_log_directory_rotates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyconnector.connector.observe.log.ROTATE_BYTES", 200)
    setup = LogSetup(LogConfig(directory=str(tmp_path)), io.StringIO())
    for _ in range(20):
        Log("x").info("a line of some length")
    setup.close()
    logging.getLogger(ROOT).setLevel(logging.NOTSET)
    assert len(list(tmp_path.iterdir())) == 6


def test_a_log_file_that_cannot_be_opened_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match="cannot open the log file"):
        LogSetup(LogConfig(file=str(tmp_path)), io.StringIO())
    logging.getLogger(ROOT).setLevel(logging.NOTSET)


def test_json_on_the_console_when_asked(tmp_path: Path) -> None:
    stream = io.StringIO()
    setup = LogSetup(LogConfig(output="json"), stream)
    Log("x").info("hello")
    setup.close()
    logging.getLogger(ROOT).setLevel(logging.NOTSET)
    assert json.loads(stream.getvalue())["message"] == "hello"


def test_the_file_in_a_log_directory_is_called_as_wanted(tmp_path: Path) -> None:
    LogSetup(LogConfig(directory=str(tmp_path), name="cloudflared"), io.StringIO()).close()
    assert [path.name for path in tmp_path.iterdir()] == ["cloudflared.log"]


def test_what_libraries_say_has_time_and_level_too() -> None:
    """The standard library would print their warnings bare, asyncio's among them."""
    stream = io.StringIO()
    setup = LogSetup(LogConfig(level="debug"), stream)
    foreign = logging.getLogger("asyncio")
    handlers = logging.getLogger().handlers[:]
    try:
        foreign.warning("socket.send() raised exception.")
        foreign.debug("Using selector: EpollSelector")
        logging.getLogger("pyconnector.edge").warning("our own, once")
    finally:
        setup.close()
    lines = stream.getvalue().splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == ["WRN socket.send() raised exception.", "WRN our own, once"]
    assert len(logging.getLogger().handlers) == len(handlers) - 1
