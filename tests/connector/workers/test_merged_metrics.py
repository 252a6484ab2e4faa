from __future__ import annotations

from typing import TYPE_CHECKING

from pyconnector.connector.workers.merged_metrics import MergedMetrics

if TYPE_CHECKING:
    from pyconnector.connector.workers.messages import Families


def families(requests: float, connections: float, *, code: str = "200", started: float = 5.0) -> Families:
    return [
        ("requests", "Requests", "counter", [("requests", {"code": code}, requests)]),
        ("connections", "Connections", "gauge", [("connections", {}, connections)]),
        ("build_info", "Build", "gauge", [("build_info", {}, 1)]),
        ("process_start_time_seconds", "Start", "gauge", [("process_start_time_seconds", {}, started)]),
    ]


def values(merged: MergedMetrics, *more: Families) -> dict[str, float]:
    return {
        sample.name + "".join(sample.labels.values()): sample.value
        for metric in merged.families(*more)
        for sample in metric.samples
    }


def test_figures_of_workers_add_up_but_facts_do_not() -> None:
    merged = MergedMetrics()
    merged.update(0, families(10, 2, started=7))
    merged.update(1, families(5, 2, code="500", started=8))
    assert values(merged, families(1, 0, started=6)) == {
        "requests200": 11, "requests500": 5, "connections": 4, "build_info": 1, "process_start_time_seconds": 6,
    }  # fmt: skip


def test_a_counter_never_falls_when_a_worker_dies() -> None:
    merged = MergedMetrics()
    merged.update(0, families(10, 2))
    merged.update(1, families(5, 2))
    merged.retire(0)
    assert values(merged)["requests200"] == 15
    assert values(merged)["connections"] == 2
    merged.update(0, families(1, 2))
    merged.retire(0)
    merged.retire(0)
    assert values(merged)["requests200"] == 16


def test_the_latest_figures_of_a_worker_replace_those_before() -> None:
    merged = MergedMetrics()
    merged.update(0, families(10, 2))
    merged.update(0, families(11, 1))
    assert values(merged)["requests200"] == 11
