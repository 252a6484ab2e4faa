"""What systemd is told, on a socket of the test's own."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyconnector.connector.cli.process.service_manager import MAX_STATUS_CHARS, ServiceManager
from tests.connector.cli.test_cli import _no_environment, edge_for_tests, flags, running
from tests.connector.configs import write_config

__all__ = ["_no_environment"]


@pytest.fixture
def told(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)
        yield listener


def environment(told: socket.socket, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": told.getsockname(), **more}


def messages(told: socket.socket) -> list[str]:
    found = []
    while True:
        try:
            found.append(told.recv(4096).decode())
        except BlockingIOError:
            return found


def test_each_step_is_one_message(told: socket.socket) -> None:
    manager = ServiceManager(environment(told), clock=lambda: 2.5)
    manager.status("connecting\nREADY=1")
    manager.status("connecting\nREADY=1")
    manager.ready()
    manager.reloading()
    manager.stopping()
    assert messages(told) == [
        "STATUS=connecting\\nREADY=1", "READY=1", "RELOADING=1\nMONOTONIC_USEC=2500000", "STOPPING=1",
    ]  # fmt: skip


def test_a_status_line_is_cut(told: socket.socket) -> None:
    ServiceManager(environment(told)).status("x" * 10_000)
    assert messages(told) == ["STATUS=" + "x" * MAX_STATUS_CHARS]


def test_a_manager_that_reads_nothing_holds_nothing_up(told: socket.socket, caplog: pytest.LogCaptureFixture) -> None:
    manager = ServiceManager(environment(told))
    for _ in range(5000):
        manager.ready()
    assert [record.getMessage()[:30] for record in caplog.records] == ["Cannot tell the service manage"]


def test_an_abstract_socket_is_told() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0pyconnector-{os.getpid()}")
        ServiceManager({"NOTIFY_SOCKET": f"@pyconnector-{os.getpid()}"}).ready()
        assert listener.recv(100) == b"READY=1"


@pytest.mark.parametrize(
    ("more", "alive"),
    [
        ({"WATCHDOG_USEC": "20000"}, True),
        ({"WATCHDOG_USEC": "20000", "WATCHDOG_PID": str(os.getpid())}, True),
        ({"WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"}, False),
        ({"WATCHDOG_USEC": "0"}, False),
        ({"WATCHDOG_USEC": "soon"}, False),
        ({}, False),
    ],
)
async def test_signs_of_life_are_given_where_they_are_wanted(
    told: socket.socket, more: dict[str, str], alive: bool
) -> None:
    async def scenario() -> list[str]:
        watching = asyncio.ensure_future(ServiceManager(environment(told, **more)).watch())
        found: list[str] = []
        for _ in range(1000 if alive else 5):
            await asyncio.sleep(0.01)
            found += messages(told)
            if len(found) >= 2:
                break
        watching.cancel()
        return found

    found = await scenario()
    assert set(found) == ({"WATCHDOG=1"} if alive else set())
    assert len(found) >= 2 or not alive


async def test_a_run_is_told_from_start_to_end(told: socket.socket, tmp_path: Path) -> None:
    config = write_config(tmp_path)
    async with edge_for_tests() as edge:
        line = ("run", config, *flags(edge), "--ha-connections", 1)
        async with running(*line, **environment(told, WATCHDOG_USEC="2000000")) as process:
            await process.until("Registered tunnel connection")
            process.process.send_signal(signal.SIGHUP)
            await process.until("The new rules are in force")
            seen = len(process.lines)
            config.write_text(config.read_text().replace("404", "418"))
            await process.until("Reloading configuration, since the file changed")
            await process.until("changed rule #0 (*): service http_status:404 -> http_status:418", after=seen)
            await process.until("The new rules are in force", after=seen)
            assert await process.end(signal.SIGTERM) == 0
    found = [message.partition("\n")[0] for message in messages(told)]
    assert "WATCHDOG=1" in found
    steps = [message for message in found if message != "WATCHDOG=1"]
    assert steps[:2] == ["STATUS=connecting to the edge", "STATUS=1 of 1 connections to the edge"]
    assert [step for step in steps if not step.startswith("STATUS")] == [
        "READY=1", "RELOADING=1", "READY=1", "RELOADING=1", "READY=1", "STOPPING=1",
    ]  # fmt: skip


async def test_a_file_is_not_watched_where_that_is_not_wanted(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    async with edge_for_tests() as edge:
        async with running("run", config, *flags(edge), "--no-config-watch") as process:
            await process.until("Registered tunnel connection")
            config.write_text(config.read_text().replace("404", "418"))
            await asyncio.sleep(3)
            assert await process.end(signal.SIGTERM) == 0
            assert not any("Reloading" in line for line in process.lines)
