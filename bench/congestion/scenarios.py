"""What is compared: loss, queues and sharing. Each returns plain numbers for the table and the picture."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.congestion.network import Path
from bench.congestion.simulate import FlowOutcome, FlowPlan, jain_index, simulate

ALGORITHMS = ("bbr", "cubic", "reno")
MEGABIT = 1e6 / 8
RTT = 0.030
LOSSES = (0.0, 0.001, 0.01, 0.03)
PAIRS = (("bbr", "bbr"), ("cubic", "cubic"), ("bbr", "cubic"), ("bbr", "reno"))

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How much is simulated."""

    size: int = 10 * 1024 * 1024
    "Bytes of each download over a lossy path."
    seeds: Sequence[int] = (1, 2, 3, 4, 5)
    "Losses differ by seed; medians are reported."
    queue_seconds: float = 20.0
    sharing_seconds: float = 40.0
    sharing_seeds: Sequence[int] = (1, 2, 3)


QUICK = Extent(size=2 * 1024 * 1024, seeds=(1,), queue_seconds=6.0, sharing_seconds=12.0, sharing_seeds=(1,))


@dataclass(frozen=True, slots=True, kw_only=True)
class LossRow:
    """One download through random loss, by one controller."""

    megabits: int
    loss: float
    algorithm: str
    goodput: float
    "Bytes per second, median over the seeds."
    slowest: float
    fastest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRow:
    """One long download over a path whose queue holds several bandwidth-delay products."""

    algorithm: str
    goodput: float
    mean_delay: float
    high_delay: float
    "Seconds that 19 of 20 packets did not exceed."
    dropped: int
    series: Sequence[tuple[float, float]]
    "Time and delay, for the picture."


@dataclass(frozen=True, slots=True, kw_only=True)
class SharingRow:
    """Two long downloads over one bottleneck."""

    algorithms: tuple[str, str]
    queue: float
    shares: tuple[float, float]
    "Bytes per second of each in the second half, mean over the seeds."
    jain: float
    "The least of the seeds."
    mean_delay: float
    series: tuple[Sequence[tuple[float, float]], Sequence[tuple[float, float]]]
    "Time and goodput of each flow in the first seed, for the picture."


def loss_rows(extent: Extent, progress: Progress, *, megabits: int) -> list[LossRow]:
    """One download per controller, loss rate and seed, through a queue of one bandwidth-delay product."""
    rows = []
    for loss in LOSSES:
        for algorithm in ALGORITHMS:
            progress(f"{megabits} Mbit/s, {loss:.1%} loss, {algorithm}")
            path = Path(rate=megabits * MEGABIT, rtt=RTT, loss=loss)
            plan = FlowPlan(algorithm=algorithm, size=extent.size)
            rates = [simulate(path, [plan], seed=seed, duration=600).flows[0].goodput for seed in extent.seeds]
            rows.append(
                LossRow(
                    megabits=megabits,
                    loss=loss,
                    algorithm=algorithm,
                    goodput=statistics.median(rates),
                    slowest=min(rates),
                    fastest=max(rates),
                )
            )
    return rows


def queue_rows(extent: Extent, progress: Progress, *, megabits: int, queue: float) -> list[QueueRow]:
    """One long download per controller, without random loss; the second half counts."""
    rows = []
    for algorithm in ALGORITHMS:
        progress(f"{megabits} Mbit/s, queue of {queue:g} BDP, {algorithm}")
        path = Path(rate=megabits * MEGABIT, rtt=RTT, queue=queue)
        seconds = extent.queue_seconds
        plan = FlowPlan(algorithm=algorithm, size=int(path.rate * seconds))
        outcome = simulate(path, [plan], seed=1, duration=seconds)
        rows.append(
            QueueRow(
                algorithm=algorithm,
                goodput=outcome.flows[0].goodput_between(seconds / 2, seconds),
                mean_delay=outcome.mean_queue_delay(seconds / 2),
                high_delay=outcome.queue_delay_quantile(0.95, seconds / 2),
                dropped=outcome.dropped,
                series=_means(outcome.queue_delays, seconds / 120),
            )
        )
    return rows


def sharing_rows(extent: Extent, progress: Progress, *, megabits: int, queue: float) -> list[SharingRow]:
    """Two downloads, the second of which begins a second later; the second half counts."""
    rows = []
    seconds = extent.sharing_seconds
    path = Path(rate=megabits * MEGABIT, rtt=RTT, queue=queue)
    size = int(path.rate * seconds)
    for pair in PAIRS:
        progress(f"{megabits} Mbit/s, queue of {queue:g} BDP, {pair[0]} beside {pair[1]}")
        plans = [FlowPlan(algorithm=name, size=size, start=float(index)) for index, name in enumerate(pair)]
        outcomes = [simulate(path, plans, seed=seed, duration=seconds) for seed in extent.sharing_seeds]
        shares = [tuple(flow.goodput_between(seconds / 2, seconds) for flow in outcome.flows) for outcome in outcomes]
        rows.append(
            SharingRow(
                algorithms=pair,
                queue=queue,
                shares=(statistics.mean(first for first, _ in shares), statistics.mean(second for _, second in shares)),
                jain=min(jain_index(share) for share in shares),
                mean_delay=statistics.mean(outcome.mean_queue_delay(seconds / 2) for outcome in outcomes),
                series=(_rates(outcomes[0].flows[0], seconds), _rates(outcomes[0].flows[1], seconds)),
            )
        )
    return rows


def _means(points: Sequence[tuple[float, float]], step: float) -> list[tuple[float, float]]:
    """Average a series over steps of time."""
    buckets: dict[int, list[float]] = {}
    for time, value in points:
        buckets.setdefault(int(time / step), []).append(value)
    return [((index + 0.5) * step, statistics.mean(values)) for index, values in sorted(buckets.items())]


def _rates(flow: FlowOutcome, seconds: float) -> list[tuple[float, float]]:
    step = seconds / 40
    return [((index + 0.5) * step, flow.goodput_between(index * step, (index + 1) * step)) for index in range(40)]
