"""What each rule serves, as an observer: requests, answers by class, durations, bytes, failures of its service.

Rules are labelled by place, hostname, path and service, and there is a bound on how many are told apart: a scrape must
not grow with what the edge pushes over the months. What goes beyond is counted together.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pyconnector.connector.observe.counters import Histogram
from pyconnector.connector.observe.log import escape
from pyconnector.connector.observe.observer import Observer
from pyconnector.ingress.config.services import redacted
from pyconnector.origins.base import RequestKind

if TYPE_CHECKING:
    from pyconnector.connector.observe.observer import RequestRecord
    from pyconnector.ingress import Rule

#: Rules that are told apart, over all configurations that were in force.
MAX_RULES = 200
#: Longest text of a label; what is longer is cut, and ends in "...".
MAX_LABEL_CHARS = 128
#: Seconds.
DURATIONS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

#: The labels of all rules beyond the bound.
OTHER = ("other", "", "", "")


def _durations() -> Histogram:
    return Histogram(*DURATIONS)


@dataclass(slots=True, eq=False)
class RuleCounts:
    """What one rule served."""

    requests: int = 0
    responses: Counter[int] = field(default_factory=Counter)
    "By class: 2 for 2xx, and so on."
    durations: Histogram = field(default_factory=_durations)
    "Of HTTP requests in seconds; a WebSocket or a stream lasts for as long as somebody likes."
    bytes_in: int = 0
    bytes_out: int = 0
    origin_errors: int = 0
    refused: int = 0


class RuleMetrics(Observer):
    """Counts what each rule serves. Requests that met no rule, as those of private networks, are not counted."""

    def __init__(self) -> None:
        self.rules: dict[tuple[str, str, str, str], RuleCounts] = {}
        "By place, hostname, path and service."
        self._current: dict[int, tuple[Rule, RuleCounts]] = {}

    def __repr__(self) -> str:
        return f"<RuleMetrics {len(self.rules)}>"

    def end(self, record: RequestRecord) -> None:
        """Count a request that is over."""
        rule = record.rule
        if rule is None:
            return
        known = self._current.get(record.rule_index)
        counts = known[1] if known is not None and known[0] is rule else self._counts(record.rule_index, rule)
        counts.requests += 1
        if record.status:
            counts.responses[record.status // 100] += 1
        if record.kind is RequestKind.HTTP:
            counts.durations.observe(record.duration)
        counts.bytes_in += record.bytes_in
        counts.bytes_out += record.bytes_out
        counts.origin_errors += record.origin_failed
        counts.refused += bool(record.refused)

    def _counts(self, index: int, rule: Rule) -> RuleCounts:
        labels = (str(index), _label(rule.hostname), _label(rule.path), _label(redacted(rule.service)))
        if labels not in self.rules and len(self.rules) >= MAX_RULES:
            labels = OTHER
        counts = self.rules.setdefault(labels, RuleCounts())
        self._current[index] = (rule, counts)
        return counts


def _label(text: str) -> str:
    text = escape(text)
    return text if len(text) <= MAX_LABEL_CHARS else text[: MAX_LABEL_CHARS - 3] + "..."
