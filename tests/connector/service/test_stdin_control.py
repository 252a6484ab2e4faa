"""Commands on standard input: what they do, and what is said of those that are none."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import pytest

from pyconnector.connector.cli.process.stdin_control import MAX_LINE, commands_from

pytestmark = pytest.mark.usefixtures("each_loop")


async def obeyed(*typed: bytes, connected: bool = True) -> list[float]:
    """The delays of the connections that were made again, each piece typed by itself."""
    delays: list[float] = []

    def reconnect(delay: float) -> bool:
        delays.append(delay)
        return connected

    reading, writing = os.pipe()
    try:
        with commands_from(reading, reconnect):
            for piece in typed:
                os.write(writing, piece)
                for _ in range(5):
                    await asyncio.sleep(0.001)
            os.close(writing)
            await asyncio.sleep(0.01)
    finally:
        os.close(reading)
    return delays


async def test_reconnect_takes_a_duration() -> None:
    assert await obeyed(b"reconnect\n", b"\nrecon", b"nect 15s\nreconnect 1m\n") == [0.0, 15.0, 60.0]


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        (b"dance\x1b\n", "There is no such command: dance\\x1b"),
        (b"reconnect soon\n", "The duration of this command cannot be read"),
        (b"reconnect -5s\n", "The duration of this command cannot be read: it is negative"),
        (b"help\n", "Commands: reconnect [DURATION]"),
        (b"x" * (MAX_LINE + 1) + b" reconnect\n", "A command is longer than 256 bytes"),
    ],
)
async def test_what_is_no_command_is_said(typed: bytes, sentence: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pyconnector")
    assert await obeyed(typed) == []
    assert sentence in caplog.text


async def test_what_follows_of_a_line_that_is_too_long_is_no_command(caplog: pytest.LogCaptureFixture) -> None:
    assert await obeyed(b"x" * (MAX_LINE + 1), b"\x20\nreconnect 1s\n", b"y" * (MAX_LINE + 1), b"\nreconnect\n") == [
        1.0,
        0.0,
    ]
    assert await obeyed(b"x" * (MAX_LINE + 1), b"reconnect\n") == []
    assert await obeyed(b"x" * MAX_LINE, b"x", b" \n", b"reconnect 2s\n") == [2.0]
    assert caplog.text.count("longer than 256 bytes") == 4


async def test_an_input_that_has_ended_is_watched_no_more() -> None:
    reading, writing = os.pipe()
    os.close(writing)
    try:
        with commands_from(reading, lambda delay: True):
            await asyncio.sleep(0.01)
            assert not asyncio.get_running_loop().remove_reader(reading), "it would be readable for ever"
    finally:
        os.close(reading)


async def test_without_a_connection_that_is_said(caplog: pytest.LogCaptureFixture) -> None:
    await obeyed(b"reconnect\n", connected=False)
    assert "There is no connection to be made again" in caplog.text


async def test_an_input_that_cannot_be_watched_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = os.open(tmp_path / "file", os.O_CREAT | os.O_RDONLY)
    try:
        with commands_from(file, lambda delay: True):
            await asyncio.sleep(0)
    finally:
        os.close(file)
    assert "No commands are taken from standard input" in caplog.text
