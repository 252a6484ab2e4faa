"""When losses count as what holds a connection back: literal figures, literal times."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from pyconnector.connector.link.paths.path_watch import INTERVALS, MEMORY, PLENTY, PathWatch
from pyconnector.transport.seam import Statistics

if TYPE_CHECKING:
    from pyconnector.transport.seam import Connection

#: 30 ms and a window of 24,000 bytes: 800 kB/s is what a loss-based controller sends.
RTT, WINDOW = 0.030, 24_000
HELD_BACK = 700_000.0
CONNECTIONS = [cast("Connection", object()) for _ in range(4)]


class Path:
    """Connections that send at a rate and lose packets; one look a second."""

    def __init__(self) -> None:
        self.watch = PathWatch()
        self.now = 100.0
        self.sent = dict.fromkeys(range(4), 0.0)
        self.lost = dict.fromkeys(range(4), 0)

    def second(
        self,
        *,
        rate: float = HELD_BACK,
        lost: int = 6,
        index: int = 0,
        window: int | None = WINDOW,
        rtt: float = RTT,
        passes: float = 1.0,
    ) -> None:
        self.now += passes
        self.sent[index] += rate
        self.lost[index] += lost
        figures = Statistics(
            engine="qh3",
            bytes_sent=int(self.sent[index]),
            packets_lost=self.lost[index],
            congestion_window=window,
            rtt_smoothed=rtt,
        )
        self.watch.look(index, CONNECTIONS[index], figures, self.now)

    def lossy(self) -> bool:
        return self.watch.verdict(self.now) is not None


def test_a_window_that_losses_keep_small_is_noticed_after_a_few_seconds() -> None:
    path = Path()
    path.second()  # the first look only tells where to count from
    for _ in range(INTERVALS):
        assert not path.lossy()
        path.second()
    verdict = path.watch.verdict(path.now)
    assert verdict is not None
    assert verdict.rate == HELD_BACK
    assert verdict.loss == pytest.approx(6 / 518, rel=0.01)


@pytest.mark.parametrize(
    "figures",
    [
        {"lost": 0},
        {"lost": 1},
        {"rate": 10_000.0},  # it does not use its window: nobody wants more
        {"rate": PLENTY + 1.0, "window": 200_000},  # well served
        {"lost": 2, "rate": 4_000_000.0, "window": 150_000},  # two of 3,000 packets
        {"window": None},  # an engine that cannot tell
        {"rtt": 0.0},
    ],
)
def test_what_is_no_sign_of_a_bad_path(figures: dict[str, float]) -> None:
    path = Path()
    for _ in range(60):
        path.second(**figures)  # type: ignore[arg-type]
        assert not path.lossy()


def test_connections_share_the_path() -> None:
    path = Path()
    for index in range(4):
        path.second(index=index, passes=0.0)
    assert not path.lossy()
    for index in range(4):
        path.second(index=index, passes=1.0 if index == 0 else 0.0)
    assert path.lossy()


def test_what_was_seen_long_ago_no_longer_counts() -> None:
    path = Path()
    path.second()
    for _ in range(INTERVALS * 3):
        path.second()
        for _ in range(int(MEMORY / 2) + 1):
            path.second(lost=0)
        assert not path.lossy()


def test_a_new_connection_of_an_index_starts_at_nothing() -> None:
    watch = PathWatch()
    for turn in range(20):
        # Each is looked at once: the difference to the one before would be no rate of anything.
        figures = Statistics(
            engine="qh3", bytes_sent=turn * 700_000, packets_lost=turn * 6, congestion_window=WINDOW, rtt_smoothed=RTT
        )
        watch.look(0, cast("Connection", object()), figures, float(turn))
        assert watch.verdict(float(turn)) is None


def test_looks_that_are_too_close_do_not_count_twice() -> None:
    path = Path()
    path.second()
    for _ in range(INTERVALS * 4):
        path.second(rate=HELD_BACK / 10, passes=0.1)
    assert len(path.watch._held_back) == 2, "of 1.2 seconds"
