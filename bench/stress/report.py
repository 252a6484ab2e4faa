"""What came out of a run, for people: one table row, and every finding in words."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.stress.run import Outcome

HEADER = (
    "| engine, loop | seed | s | visits | right | left | excused | disturbed | objects | MiB | loop late | findings |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|"
)


def row(outcome: Outcome) -> str:
    """One row of the table; objects and memory are what is more after the last round than after the first."""
    options, ledger = outcome.options, outcome.ledger
    totals: Counter[str] = Counter()
    for (_, verdict), count in ledger.outcomes.items():
        totals[verdict] += count
    memory = (outcome.memory[-1] - outcome.memory[0]) / (1 << 20) if outcome.memory else 0.0
    objects = outcome.objects[-1] - outcome.objects[0] if outcome.objects else 0
    return (
        f"| {options.house.engine}, {options.loop} | {options.seed} | {outcome.seconds:.0f} | {ledger.visits} | "
        f"{totals['right']} | {totals['left']} | {totals['excused']} | {ledger.disturbances.total()} | "
        f"{objects:+} | {memory:+.1f} | {outcome.latest:.1f} s | {ledger.found} |"
    )


def details(outcome: Outcome) -> str:
    """Everything else: visits by kind, disturbances, log lines, findings."""
    ledger = outcome.ledger
    kinds = sorted({kind for kind, _ in ledger.outcomes})
    lines = [f"  {kind}: {_counts(ledger.outcomes, kind)}" for kind in kinds]
    lines.append(
        "  disturbances: " + (", ".join(f"{count} x {name}" for name, count in ledger.disturbances.items()) or "none")
    )
    lines += [f"  logged {count} x {text}" for text, count in ledger.log_lines.most_common(8)]
    lines += [f"  FOUND {count} x {text}" for text, count in ledger.findings.items()]
    if more := ledger.found - ledger.findings.total():
        lines.append(f"  and {more} more findings")
    return "\n".join(lines)


def _counts(outcomes: Counter[tuple[str, str]], kind: str) -> str:
    return ", ".join(f"{count} {verdict}" for (which, verdict), count in sorted(outcomes.items()) if which == kind)
