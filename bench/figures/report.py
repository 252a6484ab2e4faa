"""Medians over rounds and how far these lie apart, as a table for people and as JSON for machines."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from bench.figures.process import cpu_model
from bench.figures.targets import TARGETS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from bench.sections.rows import Figure

#: Rounds from which on a median is shown with its smallest and largest.
SPREAD_FROM = 3
#: Part of a core, or of all of them, from which on a process, or the machine, has no more to give.
SATURATED = 0.9
#: How figures of a process's share of a core begin.
CORES = "cores, "

#: row -> figure -> subject -> one value per round
Samples = dict[str, dict[str, dict[str, list[float]]]]


class Report:
    """Collects the rounds of several subjects."""

    def __init__(self, subjects: list[str]) -> None:
        self._subjects = subjects
        self._samples: Samples = {}
        self._units: dict[tuple[str, str], str] = {}
        self._shown: str | None = None

    def add(self, subject: str, row: str, figures: Iterable[Figure]) -> None:
        """Take the figures of one run of `row` with `subject`."""
        for name, value, unit in figures:
            self._units[row, name] = unit
            self._samples.setdefault(row, {}).setdefault(name, {}).setdefault(subject, []).append(value)

    def show_row(self, row: str | None) -> str:
        """Return the lines of the row before, once `row` is another than that; "" where it is not."""
        done, self._shown = self._shown, row
        return "\n".join(self._lines(done)) if done is not None and done != row else ""

    def table(self) -> str:
        """A Markdown table of medians with the smallest and the largest, with the ratio to the last subject where there
        are several, the target of the first, and who had no more to give."""
        subjects = self._subjects
        base = subjects[-1] if len(subjects) > 1 else ""
        heads = ["row", "figure", *subjects, *(f"{name} / {base}" for name in subjects[:-1])]
        if base:
            heads.append(f"target, {subjects[0]}")
        lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
        for row in self._samples:
            lines += self._lines(row)
        return "\n".join(lines)

    def _lines(self, row: str) -> list[str]:
        subjects = self._subjects
        lines = []
        for name, by_subject in self._samples[row].items():
            if name == "failures" and not any(any(values) for values in by_subject.values()):
                continue
            medians = {subject: statistics.median(values) for subject, values in by_subject.items()}
            cells = [row, f"{name} {self._units[row, name]}".strip()]
            cells += [_spread(by_subject.get(subject, [])) for subject in subjects]
            if len(subjects) > 1:
                base = medians.get(subjects[-1])
                cells += [_ratio(medians.get(subject), base) for subject in subjects[:-1]]
                cells.append(_verdict(row, name, medians.get(subjects[0]), base))
            lines.append("| " + " | ".join(cells) + " |")
        if any(name.startswith(CORES) for name in self._samples[row]):
            cells = [row, "saturated", *(self._saturated(row, subject) for subject in subjects)]
            cells += [""] * len(subjects) if len(subjects) > 1 else []
            lines.append("| " + " | ".join(cells) + " |")
        return lines

    def _saturated(self, row: str, subject: str) -> str:
        """Who had no more to give: processes with a whole core, or the machine with all of its own."""
        shares = {
            name.removeprefix(CORES): statistics.median(by_subject[subject])
            for name, by_subject in self._samples[row].items()
            if name.startswith(CORES) and subject in by_subject
        }
        if full := [name for name, share in shares.items() if share >= SATURATED]:
            return " and ".join(full)
        if sum(shares.values()) >= SATURATED * (os.cpu_count() or 1):
            return "the machine"
        return "nobody, by these" if shares else ""

    def write(self, path: Path, facts: dict[str, Any]) -> None:
        """Write every sample with `facts`: what it was measured on."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"about": facts, "samples": self._samples}, indent=1) + "\n")


def about(peer: str | None = None) -> dict[str, Any]:
    """Commit, versions, processor and command line of this run; `peer` is what a peer says it is."""
    packages = {}
    for name in ("aioquic", "qh3", "uvloop", "pycapnp", "cryptography", "httptools"):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "not installed"
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return {
        "commit": commit.stdout.strip(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "packages": packages,
        "peer": peer,
        "command": "python -m bench " + " ".join(sys.argv[1:]),
    }


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _spread(values: list[float]) -> str:
    """The median, with the smallest and the largest of several rounds."""
    if not values:
        return ""
    middle = _short(statistics.median(values))
    return middle if len(values) < SPREAD_FROM else f"{middle} ({_short(min(values))} to {_short(max(values))})"


def _verdict(row: str, figure: str, value: float | None, base: float | None) -> str:
    target = TARGETS.get((row, figure))
    if target is None:
        return ""
    if value is None or not base:
        return str(target)
    return f"{target}: {'met' if target.is_met(value / base) else 'missed'}"


def _ratio(value: float | None, base: float | None) -> str:
    return f"{value / base:.2f}" if value is not None and base else ""
