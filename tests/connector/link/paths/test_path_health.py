"""A path that is dead or has collapsed is known by what connections count; what looks alike is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pyconnector.connector.link.paths.path_guard import MOVE_INTERVAL, PathGuard
from pyconnector.connector.link.paths.path_health import (
    BACKLOG,
    COLLAPSE_SECONDS,
    HEARD,
    SILENCE,
    PathHealth,
    Sick,
)
from pyconnector.transport.seam import Statistics

STEP = 0.5


class Path:
    """One connection's counters."""

    def __init__(self, engine: str = "qh3") -> None:
        self.now = Statistics(engine=engine, packets_lost=0, rtt_smoothed=0.02, congestion_window=50_000)

    def tick(
        self, *, sent: float = 60.0, received: float = 60.0, lost: int = 0, waiting: int = 0, round_trip: float = 0.02
    ) -> None:
        now = self.now
        self.now = replace(
            now,
            bytes_sent=now.bytes_sent + int(sent * STEP),
            bytes_received=now.bytes_received + int(received * STEP),
            packets_lost=(now.packets_lost or 0) + lost,
            bytes_undelivered=waiting,
            rtt_smoothed=round_trip,
        )


class World:
    """Some connections and what is seen of them."""

    def __init__(self, count: int = 2) -> None:
        self.health = PathHealth()
        self.paths = [Path() for _ in range(count)]
        self.time = 100.0
        self.found: list[tuple[float, Sick]] = []

    def look(self) -> None:
        figures = [(index, id(path), path.now) for index, path in enumerate(self.paths)]
        self.found += [(self.time, sick) for sick in self.health.look(figures, self.time)]
        self.time += STEP

    def run(self, seconds: float, **of_first: float) -> list[Sick]:
        """Let the first path do so, and the others be well; return what was found."""
        for _ in range(int(seconds / STEP)):
            self.paths[0].tick(**of_first)  # type: ignore[arg-type]
            for path in self.paths[1:]:
                path.tick()
            self.look()
        return [sick for _, sick in self.found]


def test_a_connection_that_hears_nothing_while_others_do_is_dead() -> None:
    world = World()
    world.run(5)
    sick, *_ = world.run(10, received=0.0, sent=60.0)
    assert (sick.index, sick.dead) == (0, True)
    assert world.found[0][0] - 105.0 == pytest.approx(SILENCE, abs=1.0)
    assert sick.evidence["engine"] == "qh3"
    assert sick.evidence["silent"].endswith("s")
    assert sick.evidence["roundTrip"] == "20ms"


def test_a_network_that_is_away_makes_nobody_dead() -> None:
    world = World(1)
    world.run(5)
    assert world.run(10, received=0.0) == [], "there is no other connection"
    world = World()
    world.run(5)
    for _ in range(int(10 / STEP)):
        for path in world.paths:
            path.tick(received=0.0)
        world.look()
    assert world.found == []


def test_silence_that_nobody_asked_into_is_none() -> None:
    world = World()
    world.run(5)
    assert world.run(10, received=0.0, sent=0.0) == []


def test_a_word_now_and_then_is_life() -> None:
    world = World()
    for _ in range(10):
        world.run(SILENCE - 2 * STEP, received=0.0)
        world.run(STEP)
    assert world.found == []
    assert HEARD < SILENCE


@pytest.mark.parametrize("trouble", [{"lost": 5}, {"round_trip": 0.5}], ids=["losses", "a long round trip"])
def test_a_rate_that_falls_with_losses_or_delay_is_a_collapse(trouble: dict[str, float]) -> None:
    world = World()
    world.run(3, sent=5_000_000.0)
    (sick,) = world.run(COLLAPSE_SECONDS + 1, sent=20_000.0, waiting=BACKLOG, **trouble)
    assert (sick.index, sick.dead) == (0, False)
    assert sick.evidence["bestRate"] == "5.0 MB/s"
    assert sick.evidence["rate"] == "20.0 kB/s"


@pytest.mark.parametrize(
    ("before", "then"),
    [
        (5_000_000.0, {"sent": 20_000.0, "waiting": BACKLOG}),
        (5_000_000.0, {"sent": 20_000.0, "waiting": BACKLOG - 1, "lost": 5}),
        (5_000_000.0, {"sent": 400_000.0, "waiting": BACKLOG, "lost": 50}),
        (500_000.0, {"sent": 20_000.0, "waiting": BACKLOG, "lost": 5}),
    ],
    ids=["slow visitors", "little to send", "still quick", "it never was quick"],
)
def test_what_looks_like_a_collapse_is_none(before: float, then: dict[str, float]) -> None:
    world = World()
    world.run(3, sent=before)
    assert world.run(3 * COLLAPSE_SECONDS, **then) == []


def test_a_collapse_must_last() -> None:
    world = World()
    world.run(3, sent=5_000_000.0)
    for _ in range(5):
        world.run(COLLAPSE_SECONDS - 1, sent=20_000.0, waiting=BACKLOG, lost=5)
        world.run(1, sent=5_000_000.0)
    assert world.found == []


class Link:
    """A connection as the guard sees it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def statistics(self) -> Statistics:
        return self.path.now


@pytest.mark.parametrize("engine", ["qh3", "h2"])
def test_the_guard_leaves_dead_paths_and_says_why(engine: str, caplog: pytest.LogCaptureFixture) -> None:
    links = {index: Link(Path(engine)) for index in range(2)}
    left: list[tuple[int, str]] = []
    guard = PathGuard(
        connections=lambda: links,  # type: ignore[arg-type, return-value]
        leave=lambda index, reason: not left.append((index, reason)),  # type: ignore[func-returns-value]
        move=lambda index: True,
    )
    for step in range(20):
        links[0].path.tick(received=0.0 if step else 60.0)
        links[1].path.tick()
        guard.look(step * STEP)
    if engine == "h2":  # whose signs of life are rarer
        assert left == []
        return
    ((index, reason),) = left[:1]
    assert index == 0
    assert "its path is dead" in reason
    assert "A path to the edge is dead" in caplog.text


def test_the_guard_moves_a_connection_once_a_minute() -> None:
    links = {index: Link(Path()) for index in range(2)}
    moved: list[float] = []
    now = [0.0]

    def move(index: int) -> bool:
        moved.append(now[0])
        return True

    guard = PathGuard(
        connections=lambda: links,  # type: ignore[arg-type, return-value]
        leave=lambda index, reason: True,
        move=move,
    )
    while now[0] < MOVE_INTERVAL * 2:
        if now[0] < 3:
            links[0].path.tick(sent=5_000_000.0)
        else:
            links[0].path.tick(sent=20_000.0, waiting=BACKLOG, lost=5)
        links[1].path.tick()
        guard.look(now[0])
        now[0] += STEP
    assert len(moved) == 2
    assert moved[1] - moved[0] >= MOVE_INTERVAL


def test_a_process_that_stood_still_blames_no_path() -> None:
    world = World()
    world.run(5)
    world.time += 8.0
    world.paths[1].tick()  # of which something was read already
    world.paths[0].tick(received=0.0)
    world.look()
    assert world.run(5) == []
