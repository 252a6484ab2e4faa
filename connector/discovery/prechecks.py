"""Can the edge be reached from here? Names, UDP, TCP and the API, as rows of a table (reference/lifecycle.md 9).

Pure but for the order in which its probes run: what a probe does is an argument (`connector.discovery.probes`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyconnector.transport.seam import Address

#: Seconds that all checks have together, and each attempt of one.
BUDGET = 10.0
PROBE_TIMEOUT = 5.0
#: Attempts of one probe, and seconds before the second and the third.
ATTEMPTS = 3
DELAYS = (1.0, 2.0)
#: The API of the provider, where its edge is used.
API = ("api.cloudflare.com", 443)
#: Characters of a table's cell; what is longer is cut.
MAX_CELL = 60

DNS, UDP, TCP, API_ROW = "DNS Resolution", "UDP Connectivity", "TCP Connectivity", "Cloudflare API"


class Status(Enum):
    """How a check came out."""

    PASS = "PASS"
    FAIL = "FAIL"
    SKIP = "SKIP"


@dataclass(frozen=True, slots=True)
class Row:
    """One check."""

    component: str
    target: str
    status: Status
    details: str


@dataclass(frozen=True, slots=True)
class Report:
    """Every check, and what follows from them."""

    rows: tuple[Row, ...]

    @property
    def hard_fail(self) -> bool:
        """Whether no connection can come about: a name has no address, or both transports fail."""
        no_udp = self._any(UDP, Status.FAIL) or not self._any(UDP, Status.PASS)
        return self._any(DNS, Status.FAIL) or (no_udp and self._any(TCP, Status.FAIL))

    @property
    def suggested(self) -> str:
        """quic, http2, or "" where neither passes."""
        for protocol, component in (("quic", UDP), ("http2", TCP)):
            if self._any(component, Status.PASS) and not self._any(component, Status.FAIL):
                return protocol
        return ""

    @property
    def actions(self) -> list[str]:
        """What a person can do, one sentence each."""
        level = "ERROR" if self.hard_fail else "WARNING"
        found = []
        if self._any(DNS, Status.FAIL):
            found.append(f"{level}: names of the edge are not resolved; let this machine ask a DNS resolver")
        if self._any(UDP, Status.FAIL):
            found.append(f"{level}: QUIC does not get through; let UDP to port 7844 out of the network")
        if self._any(TCP, Status.FAIL):
            found.append(f"{level}: HTTP/2 does not get through; let TCP to port 7844 out of the network")
        if self._any(API_ROW, Status.FAIL):
            found.append("WARNING: the API is not reached; commands about an account will not work from here")
        return found

    @property
    def summary(self) -> str:
        """One sentence."""
        if self.hard_fail:
            return "the edge cannot be reached from here"
        if self.actions:
            return f"the edge can be reached in part{f', by {self.suggested}' if self.suggested else ''}"
        return f"the edge can be reached, by {self.suggested}" if self.suggested else "nothing could be checked"

    def _any(self, component: str, status: Status) -> bool:
        return any(row.component == component and row.status is status for row in self.rows)


@dataclass(frozen=True, slots=True)
class Region:
    """One name of the edge, with its addresses or the reason why it has none."""

    name: str
    addresses: tuple[Address, ...] = ()
    error: str = ""


#: Tries one address; raises OSError or `ConnectFailed` with the reason.
Probe = Callable[["Address"], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probes:
    """How each thing is tried."""

    regions: Callable[[], Awaitable[Sequence[Region]]]
    quic: Probe | None
    "None where a proxy is in the way."
    http2: Probe
    api: Probe | None
    "None where the edge is not the provider's."


async def run_prechecks(probes: Probes, *, budget: float = BUDGET) -> Report:
    """Run every check, within `budget` seconds. Cancel at any time."""
    deadline = asyncio.get_running_loop().time() + budget
    api = asyncio.ensure_future(_api(probes.api, deadline))
    try:
        regions = await _regions(probes, deadline)
        rows = [
            Row(
                DNS,
                region.name,
                Status.FAIL if region.error else Status.PASS,
                region.error or "DNS Resolved successfully",
            )
            for region in regions
        ]
        udp, tcp = await asyncio.gather(
            _each(UDP, regions, probes.quic, ("QUIC connection successful", "QUIC connection failed"), deadline),
            _each(TCP, regions, probes.http2,
                  ("HTTP/2 connection successful", "HTTP/2 connection is blocked or unreachable"), deadline),
        )  # fmt: skip
        return Report((*rows, *udp, *tcp, await api))
    finally:
        api.cancel()


async def _regions(probes: Probes, deadline: float) -> Sequence[Region]:
    try:
        async with asyncio.timeout_at(deadline):
            return await probes.regions()
    except TimeoutError:
        return [Region("the edge", error="no answer in time")]


async def _each(
    component: str, regions: Sequence[Region], probe: Probe | None, texts: tuple[str, str], deadline: float
) -> list[Row]:
    """One region after the other; of its addresses one that passes is enough."""
    rows = []
    for region in regions:
        if probe is None:
            rows.append(Row(component, region.name, Status.SKIP, "QUIC is not dialled past the proxy"))
        elif region.error:
            rows.append(Row(component, region.name, Status.SKIP, "DNS prerequisite failed"))
        elif not region.addresses:
            details = "No suitable address found for configured IP version"
            rows.append(Row(component, region.name, Status.SKIP, details))
        else:
            reason = await _tried(probe, _one_of_each_family(region.addresses), deadline)
            status = Status.FAIL if reason else Status.PASS
            rows.append(Row(component, region.name, status, f"{texts[1]}: {reason}" if reason else texts[0]))
    return rows


def _one_of_each_family(addresses: Sequence[Address]) -> list[Address]:
    found = {":" in address[0]: address for address in reversed(addresses)}
    return list(found.values())


async def _tried(probe: Probe, addresses: Sequence[Address], deadline: float) -> str:
    """Return "" where one of the addresses passed, else why the last did not."""
    from pyconnector.transport.errors import ConnectFailed

    reason = ""
    for attempt in range(ATTEMPTS):
        for address in addresses:
            loop = asyncio.get_running_loop()
            try:
                async with asyncio.timeout_at(min(deadline, loop.time() + PROBE_TIMEOUT)):
                    await probe(address)
            except TimeoutError:
                reason = "no answer in time"
            except ConnectFailed as error:
                reason = error.reason
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
            else:
                return ""
        if attempt < len(DELAYS) and asyncio.get_running_loop().time() + DELAYS[attempt] < deadline:
            await asyncio.sleep(DELAYS[attempt])
        else:
            break
    return reason


async def _api(probe: Probe | None, deadline: float) -> Row:
    target = f"{API[0]}:{API[1]}"
    if probe is None:
        return Row(API_ROW, target, Status.SKIP, "not used by this edge")
    reason = await _tried(probe, [API], deadline)
    if reason:
        return Row(API_ROW, target, Status.FAIL, f"API Connection failed: {reason}")
    return Row(API_ROW, target, Status.PASS, "API is reachable")


def table(report: Report, *, colour: bool = False) -> str:
    """Write a report for a terminal, as a box."""
    colours = {Status.PASS: "\x1b[32m", Status.FAIL: "\x1b[31m", Status.SKIP: "\x1b[33m"}
    cells = [("COMPONENT", "TARGET", "STATUS", "DETAILS")]
    cells += [(row.component, _cut(row.target), row.status.value, _cut(row.details)) for row in report.rows]
    widths = [max(len(line[column]) for line in cells) for column in range(4)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in cells]
    inner = len(lines[0]) + 4
    border = f"+{'-' * inner}+"
    body = [f"|{'CONNECTIVITY PRE-CHECKS'.center(inner)}|", border]
    for index, line in enumerate(lines):
        if colour and index:
            status = report.rows[index - 1].status
            line = line.replace(f"  {status.value}", f"  {colours[status]}{status.value}\x1b[0m", 1)
        body.append(f"|  {line}  |")
    return "\n".join([border, *body, border, *report.actions, "", f"SUMMARY: {report.summary}"]) + "\n"


def _cut(text: str) -> str:
    return text if len(text) <= MAX_CELL else f"{text[: MAX_CELL - 3]}..."
