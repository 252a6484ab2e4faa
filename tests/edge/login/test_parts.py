"""The parts of the login by themselves: seals, limits, PINs, and where PINs go."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from pyconnector.edge.access.login import counts, sinks
from pyconnector.edge.access.login.attempt import MAX_TARGET, target_of
from pyconnector.edge.access.login.counts import Counts
from pyconnector.edge.access.login.pins import is_pin, make_pin, pin_digest
from pyconnector.edge.access.login.sealing import MAX_SEALED, Sealer
from pyconnector.edge.access.login.sinks import PinMessage, PinSettings, SinkError, open_sink, pin_settings
from pyconnector.edge.access.news import MAX_NEWS, News

MESSAGE = PinMessage(email="ann@example.com", pin="012345", application="tool", seconds=600)


@cache
def key(number: int) -> rsa.RSAPrivateKey:
    del number
    return rsa.generate_private_key(65537, 2048)


def test_what_one_edge_sealed_another_opens_until_its_time() -> None:
    sealed = Sealer([key(0), key(1)], "code").seal({"a": "b"}, 1000.7)
    after_rotation = Sealer([key(1), key(0)], "code")
    assert after_rotation.open(sealed, seconds=60, now=1060.9) == {"a": "b"}
    assert after_rotation.open(sealed, seconds=60, now=1061.0) is None


def test_what_was_sealed_otherwise_is_nothing() -> None:
    sealer = Sealer([key(0)], "code")
    sealed = sealer.seal({"a": "b"}, 1000)
    assert Sealer([key(0)], "attempt").open(sealed, seconds=60, now=1000) is None  # for another purpose
    assert Sealer([key(1)], "code").open(sealed, seconds=60, now=1000) is None  # by another mesh
    for text in ("", "x", sealed[:-4] + "AAAA", "A" * (MAX_SEALED + 1), "\u00e4"):
        assert sealer.open(text, seconds=60, now=1000) is None


def test_counts_end_and_begin_anew_and_forget_nobody_before_time(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = Counts(2, 10.0)
    assert [limit.take("a", moment) for moment in (0.0, 9.0, 9.9)] == [True, True, False]
    assert limit.take("a", 10.0)
    assert limit.take("b", 10.0)
    monkeypatch.setattr(counts, "MAX_KEYS", 2)
    assert not limit.take("c", 11.0)  # rather than forgetting one that counts
    assert limit.take("a", 11.0)
    assert limit.take("c", 20.0)
    assert len(limit) == 1


def test_pins_have_six_digits_and_are_told_from_each_other() -> None:
    assert make_pin(b"\0" * 16) == "000000"
    assert make_pin((10**6 + 42).to_bytes(16, "big")) == "000042"
    digest = pin_digest("attempt", "000042")
    assert is_pin("attempt", digest, "000 042")
    for attempt, shown in (("attempt", "42"), ("attempt", ""), ("other", "000042"), ("attempt", "000043")):
        assert not is_pin(attempt, digest, shown)
    assert not is_pin("attempt", "", "")
    with pytest.raises(ValueError, match="16 random bytes"):
        make_pin(b"")


def test_targets_that_are_odd_become_the_first_page() -> None:
    assert target_of("/a?b=c") == "/a?b=c"
    for target in ("", "a", "*", "/\u00e4", "/a b", "/" + "a" * MAX_TARGET, "/\r\nX: y"):
        assert target_of(target) == "/"


def test_news_wait_for_a_report_within_bounds() -> None:
    news, woken = News(), []
    news.on_news = lambda: woken.append(1)
    for number in range(MAX_NEWS + 5):
        news.login(f"{number}@example.com", "", 1.0)
        news.ended(f"{number:032x}", 2.0)
    logins, ended = news.take()
    assert (len(logins), len(ended), len(woken)) == (MAX_NEWS, MAX_NEWS, 2 * MAX_NEWS)
    assert news.take() == ({}, {})
    news.login("late@example.com", "", 3.0)
    news.give_back(logins, ended)
    assert [len(kind) for kind in news.take()] == [MAX_NEWS, MAX_NEWS]


@pytest.mark.parametrize("text", ["mail", "file:", "command:", "command:'", "log:x", "LOG"])
def test_places_for_pins_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(SinkError, match="log, file:PATH or command:PROGRAM"):
        pin_settings(text)


def test_places_for_pins() -> None:
    assert pin_settings("") is None
    assert pin_settings("log") == PinSettings("log")
    assert pin_settings("file:/run/pins") == PinSettings("file", ("/run/pins",))
    assert pin_settings("command:mail-pin -x 'a b'") == PinSettings("command", ("mail-pin", "-x", "a b"))


def test_a_file_of_pins_is_its_owners(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "pins"
    sink = open_sink(PinSettings("file", (str(path),)))
    sink.send(MESSAGE)
    sink.send(MESSAGE)
    assert path.stat().st_mode & 0o777 == 0o600
    told = {"email": "ann@example.com", "pin": "012345", "application": "tool", "valid_seconds": 600}
    assert [json.loads(line) for line in path.read_text().splitlines()] == [told, told]
    open_sink(PinSettings("file", (str(tmp_path),))).send(MESSAGE)
    assert "could not be written: Is a directory" in caplog.text
    assert MESSAGE.pin not in caplog.text


def test_only_the_sink_of_that_name_logs_pins(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        open_sink(PinSettings("log")).send(MESSAGE)
    assert "One-time PIN for ann@example.com: 012345 (for 10 minutes)" in caplog.text
    assert MESSAGE.pin not in repr(MESSAGE)


async def test_a_command_gets_the_pin_on_its_input_and_never_waits_for_long(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "got"
    script = f"import sys; open({str(path)!r}, 'a').write(repr((sys.argv[1:], sys.stdin.read())))"

    sink = sinks.CommandSink((sys.executable, "-c", script, "word"))
    sink.send(MESSAGE)
    await sink._tasks.wait_all()
    assert path.read_text() == repr((["word"], MESSAGE.as_json().decode()))
    for command, sentence in (
        (("no-such-program",), "cannot be run: No such file or directory"),
        ((sys.executable, "-c", "raise SystemExit(3)"), "ended with 3"),
    ):
        failing = sinks.CommandSink(command)
        failing.send(MESSAGE)
        await failing._tasks.wait_all()
        assert sentence in caplog.text
    monkeypatch.setattr(sinks, "COMMAND_SECONDS", 0.05)
    slow = sinks.CommandSink((sys.executable, "-c", "import time; time.sleep(60)"))
    slow.send(MESSAGE)
    await slow._tasks.wait_all()
    assert "took longer than 0.05 s" in caplog.text
    monkeypatch.setattr(sinks, "MAX_WAITING", 1)
    slow.send(MESSAGE)
    slow.send(MESSAGE)
    assert "was dropped: 1 wait" in caplog.text
    await slow.close()
    await slow.close()
    assert MESSAGE.pin not in caplog.text
    await asyncio.sleep(0)
