"""The checks of the way to the edge: what each outcome means, and against an edge that is there or is not."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pyconnector.connector.cli.process import prechecks as told
from pyconnector.connector.cli.process.prechecks import check_way
from pyconnector.connector.config import EdgeConfig
from pyconnector.connector.discovery import prechecks as module
from pyconnector.connector.discovery.prechecks import (
    API_ROW,
    DNS,
    TCP,
    UDP,
    Probes,
    Region,
    Report,
    Row,
    Status,
    run_prechecks,
    table,
)
from pyconnector.connector.discovery.probes import probes_for
from pyconnector.edge import EdgeSettings, LocalEdge
from tests.support.houses.house import config_for, tunnel

if TYPE_CHECKING:
    from pyconnector.transport.seam import Address

REGIONS = (Region("one", (("192.0.2.1", 1), ("2001:db8::1", 1))), Region("two", (("192.0.2.2", 1),)))


def probe(*failing: str) -> Callable[[Address], asyncio.Future[None]]:
    """Fails for the addresses that are named; `hang` never answers."""

    async def run(address: Address) -> None:
        if "hang" in failing:
            await asyncio.get_running_loop().create_future()
        if address[0] in failing or "all" in failing:
            raise OSError(111, "Connection refused")

    return run  # type: ignore[return-value]  # a coroutine function


async def report(
    monkeypatch: pytest.MonkeyPatch,
    *,
    quic: Sequence[str] = (),
    http2: Sequence[str] = (),
    api: Sequence[str] | None = (),
    regions: Sequence[Region] = REGIONS,
    budget: float = 10.0,
) -> Report:
    monkeypatch.setattr(module, "DELAYS", (0.0, 0.0))

    async def names() -> Sequence[Region]:
        return regions

    probes = Probes(regions=names, quic=probe(*quic), http2=probe(*http2), api=None if api is None else probe(*api))
    return await run_prechecks(probes, budget=budget)


def statuses(found: Report) -> dict[str, list[str]]:
    result: dict[str, list[str]] = {}
    for row in found.rows:
        result.setdefault(row.component, []).append(row.status.value)
    return result


async def test_where_all_passes_quic_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    found = await report(monkeypatch)
    assert statuses(found) == {DNS: ["PASS"] * 2, UDP: ["PASS"] * 2, TCP: ["PASS"] * 2, API_ROW: ["PASS"]}
    assert (found.hard_fail, found.suggested, found.actions) == (False, "quic", [])


async def test_one_family_that_passes_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    found = await report(monkeypatch, quic=["2001:db8::1"])
    assert statuses(found)[UDP] == ["PASS", "PASS"]


@pytest.mark.parametrize(
    ("failing", "hard", "suggested", "words"),
    [
        ({"quic": ["all"]}, False, "http2", "let UDP to port 7844"),
        ({"http2": ["all"]}, False, "quic", "let TCP to port 7844"),
        ({"quic": ["all"], "http2": ["192.0.2.2"]}, True, "", "the edge cannot be reached"),
        ({"api": ["all"]}, False, "quic", "the API is not reached"),
        ({"regions": [Region("one", error="no answer"), Region("two", error="no answer")]}, True, "", "DNS resolver"),
    ],
)
async def test_what_fails_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, failing: dict[str, list[str]], hard: bool, suggested: str, words: str
) -> None:
    found = await report(monkeypatch, **failing)  # type: ignore[arg-type]
    assert (found.hard_fail, found.suggested) == (hard, suggested)
    assert words in " ".join([*found.actions, found.summary])


async def test_what_cannot_be_tried_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    found = await report(monkeypatch, regions=[Region("one", error="no answer"), Region("two")], api=None)
    assert statuses(found)[UDP] == ["SKIP", "SKIP"]
    assert [row.details for row in found.rows if row.component == UDP] == [
        "DNS prerequisite failed", "No suitable address found for configured IP version",
    ]  # fmt: skip
    assert statuses(found)[API_ROW] == ["SKIP"]


async def test_silence_ends_with_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    found = await report(monkeypatch, quic=["hang"], http2=["hang"], api=["hang"], budget=0.2)
    assert {row.details.rpartition(": ")[2] for row in found.rows if row.component != DNS} == {"no answer in time"}


def test_the_table_is_a_box_with_every_row() -> None:
    rows = (Row(DNS, "one", Status.PASS, "fine"), Row(UDP, "x" * 100, Status.FAIL, "y" * 500))
    lines = table(Report(rows)).splitlines()
    box = lines[: lines.index("", 1) - 1]
    assert len({len(line) for line in box}) == 1
    assert "CONNECTIVITY PRE-CHECKS" in box[1]
    assert box[3].split()[1:5] == ["COMPONENT", "TARGET", "STATUS", "DETAILS"]
    assert lines[-1].startswith("SUMMARY: ")
    assert "\x1b[" not in "".join(lines)
    assert "\x1b[31mFAIL\x1b[0m" in table(Report(rows), colour=True)


async def test_a_real_edge_passes_over_quic_and_nobody_is_registered() -> None:
    async def scenario() -> Report:
        async with LocalEdge(EdgeSettings(tunnels=(tunnel(),))) as edge:
            config = config_for(edge, [{"service": "http_status:404"}])
            found = await run_prechecks(probes_for(config.edge))
            assert not any(each.state == "registered" for each in edge.connectors.all())
            return found

    assert statuses(await scenario())[UDP] == ["PASS"]


# -- when ----------------------------------------------------------------------------------------------------------


class Screen(io.StringIO):
    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.mark.parametrize(
    ("terminal", "addresses", "connected", "runs"),
    [
        (True, (), True, True),
        (True, ("a:1",), True, False),
        (False, (), True, False),
        (False, (), False, True),
        (True, ("a:1",), False, True),
    ],
)
async def test_checks_run_where_somebody_looks_or_nothing_connects(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, addresses: tuple[str, ...], connected: bool, runs: bool
) -> None:
    ran: list[bool] = []

    async def fake(probes: Probes) -> Report:
        ran.append(True)
        return Report((Row(UDP, "one", Status.FAIL, "no"),))

    monkeypatch.setattr(module, "run_prechecks", fake)
    screen = Screen(terminal=terminal)

    async with LocalEdge(EdgeSettings(tunnels=(tunnel(),))) as edge:
        config = config_for(edge, [{"service": "http_status:404"}])
        config = replace(config, edge=EdgeConfig(addresses=addresses))
        await check_way(config, lambda: connected, stream=screen, patience=0)
    assert bool(ran) == runs
    assert ("CONNECTIVITY PRE-CHECKS" in screen.getvalue()) == (runs and terminal)


def test_failures_are_logged_with_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    told.tell(Report((Row(UDP, "one", Status.FAIL, "no\nanswer"), Row(TCP, "one", Status.PASS, "fine"))))
    messages = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert messages == ["precheck", "QUIC does not get through; let UDP to port 7844 out of the network"]
    assert getattr(caplog.records[0], "fields")["details"] == "no\\nanswer"  # noqa: B009 - no attribute of the class
