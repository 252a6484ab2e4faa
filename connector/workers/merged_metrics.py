"""The metrics of several processes as those of one connector.

Figures add up, but for those that say the same in every process. What a worker counted stays in the sums when it dies,
as far as it was shown: a counter never falls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import Metric

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pyconnector.connector.workers.messages import Families

#: What is not added up: facts, of which the latest or the earliest holds for all.
_LATEST = frozenset({"build_info", "cloudflared_orchestration_config_version", "process_max_fds"})
_EARLIEST = frozenset({"process_start_time_seconds"})
#: Kinds that count up, and stay when their process is gone.
_LASTING = ("counter", "histogram")

#: Samples of one family by name and labels.
_Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class MergedMetrics:
    """What every worker said last, and what those said that are gone. Pure."""

    def __init__(self) -> None:
        self._latest: dict[int, Families] = {}
        self._gone: Families = []

    def update(self, number: int, families: Families) -> None:
        """Take the metrics of a worker, which replace those that it gave before."""
        self._latest[number] = families

    def retire(self, number: int) -> None:
        """The process of a worker is gone: keep what it counted."""
        lasting = [family for family in self._latest.pop(number, []) if family[2] in _LASTING]
        self._gone = [_as_values(metric) for metric in _merged([self._gone, lasting])]

    def families(self, *more: Families) -> Iterator[Metric]:
        """Yield the metrics of all, and of `more`."""
        return _merged([self._gone, *self._latest.values(), *more])


def _merged(parts: Iterable[Families]) -> Iterator[Metric]:
    found: dict[str, tuple[str, str, _Samples]] = {}
    for families in parts:
        for name, text, kind, samples in families:
            _, _, values = found.setdefault(name, (text, kind, {}))
            for sample, labels, value in samples:
                key = sample, tuple(sorted(labels.items()))
                values[key] = _joined(name, values[key], value) if key in values else value
    for name, (text, kind, values) in found.items():
        metric = Metric(name, text, kind)
        for (sample, pairs), value in values.items():
            metric.add_sample(sample, dict(pairs), value)
        yield metric


def _joined(name: str, one: float, other: float) -> float:
    if name in _LATEST:
        return max(one, other)
    return min(one, other) if name in _EARLIEST else one + other


def _as_values(metric: Metric) -> tuple[str, str, str, list[tuple[str, dict[str, str], float]]]:
    samples = [(sample.name, dict(sample.labels), sample.value) for sample in metric.samples]
    return metric.name, metric.documentation, metric.type, samples
