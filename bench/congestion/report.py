"""The page and the picture, from the rows of the scenarios."""

from __future__ import annotations

from dataclasses import dataclass

from bench.congestion.scenarios import ALGORITHMS, LOSSES, MEGABIT, LossRow, QueueRow, SharingRow
from bench.congestion.svg import MUTED, Canvas, Frame

COLORS = {"bbr": "#10b981", "cubic": "#3b82f6", "reno": "#f59e0b"}
SECOND_FLOW = "#7c3aed"
MEGABYTE = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """Everything that was simulated."""

    losses: list[LossRow]
    queues: list[QueueRow]
    queue_path: str
    sharing: list[SharingRow]
    sharing_path: str
    seconds: float
    "Length of the simulations over time."


def picture(results: Results) -> str:
    """Return the chart as SVG."""
    canvas = Canvas(900, 640, "BBR, Cubic and Reno on simulated paths: goodput under loss, queues, and sharing")
    canvas.legend(60, 28, [(name, COLORS[name]) for name in ALGORITHMS])
    fastest = max(row.megabits for row in results.losses)
    frame = Frame(
        x=60,
        y=80,
        width=810,
        height=210,
        top=fastest * MEGABIT / MEGABYTE,
        title=f"Goodput of one download by random loss: {fastest} Mbit/s, 30 ms, queue of one BDP",
        unit="MB/s",
    )
    groups = []
    for loss in LOSSES:
        rows = {row.algorithm: row for row in results.losses if row.loss == loss and row.megabits == fastest}
        groups.append((f"{loss * 100:g} % loss", [rows[name].goodput / MEGABYTE for name in ALGORITHMS]))
    canvas.bars(frame, groups, [COLORS[name] for name in ALGORITHMS])
    _queue_chart(canvas, results)
    _sharing_chart(canvas, results)
    return canvas.text()


def _queue_chart(canvas: Canvas, results: Results) -> None:
    until = max(time for row in results.queues for time, _ in row.series)
    top = max(delay for row in results.queues for _, delay in row.series) * 1000
    frame = Frame(x=60, y=390, width=380, height=200, top=top, title="Delay in a deep queue, one flow", unit="ms")
    series = [[(time, delay * 1000) for time, delay in row.series] for row in results.queues]
    canvas.lines(frame, series, [COLORS[row.algorithm] for row in results.queues], until=until)
    canvas.label(60, 628, results.queue_path, color=MUTED, size=11)


def _sharing_chart(canvas: Canvas, results: Results) -> None:
    row = next(row for row in results.sharing if row.algorithms == ("bbr", "bbr"))
    series = [[(time, rate / MEGABYTE) for time, rate in points] for points in row.series]
    top = max(rate for points in series for _, rate in points)
    frame = Frame(x=500, y=390, width=370, height=200, top=top, title="Two BBR flows share a bottleneck", unit="MB/s")
    canvas.lines(frame, series, [COLORS["bbr"], SECOND_FLOW], until=results.seconds)
    canvas.label(500, 628, results.sharing_path, color=MUTED, size=11)


def loss_table(rows: list[LossRow]) -> str:
    """Return the goodputs as a table: one line per path and loss rate."""
    lines = ["| bottleneck | random loss | bbr | cubic | reno | bbr / cubic |", "|---|---|---|---|---|---|"]
    for megabits in sorted({row.megabits for row in rows}, reverse=True):
        for loss in LOSSES:
            by_name = {row.algorithm: row for row in rows if (row.megabits, row.loss) == (megabits, loss)}
            cells = [_goodput(by_name[name]) for name in ALGORITHMS]
            ratio = by_name["bbr"].goodput / by_name["cubic"].goodput
            lines.append(f"| {megabits} Mbit/s | {loss * 100:g} % | {' | '.join(cells)} | {ratio:.1f} |")
    return "\n".join(lines)


def queue_table(rows: list[QueueRow]) -> str:
    """Return goodput and delays over a deep queue as a table."""
    lines = ["| | goodput | mean delay | 95 % below | packets dropped |", "|---|---|---|---|---|"]
    lines += [
        f"| {row.algorithm} | {row.goodput / MEGABYTE:.2f} MB/s | {row.mean_delay * 1000:.1f} ms "
        f"| {row.high_delay * 1000:.1f} ms | {row.dropped} |"
        for row in rows
    ]
    return "\n".join(lines)


def sharing_table(rows: list[SharingRow]) -> str:
    """Return the shares of two flows as a table."""
    lines = ["| first, second | queue | shares | Jain index | mean delay |", "|---|---|---|---|---|"]
    lines += [
        f"| {row.algorithms[0]}, {row.algorithms[1]} | {row.queue:g} BDP "
        f"| {row.shares[0] / MEGABYTE:.2f} and {row.shares[1] / MEGABYTE:.2f} MB/s "
        f"| {row.jain:.2f} | {row.mean_delay * 1000:.1f} ms |"
        for row in rows
    ]
    return "\n".join(lines)


def _goodput(row: LossRow) -> str:
    return f"{row.goodput / MEGABYTE:.2f} ({row.slowest / MEGABYTE:.2f}–{row.fastest / MEGABYTE:.2f})"
