"""When a path is taken for one that swallows large datagrams."""

from __future__ import annotations

from pyconnector.transport.quic.flow.black_hole import BlackHole


def look(hole: BlackHole, *looks: tuple[float, int, float]) -> list[bool]:
    """Look at times, with so many unanswered probes (all that ever were), and when the peer was heard."""
    return [hole.is_likely(now, probes=probes, total=probes, heard=heard) for now, probes, heard in looks]


def test_probes_without_answers_from_a_peer_that_is_heard_are_a_black_hole() -> None:
    assert look(BlackHole(), (1.0, 3, 0.5), (2.0, 4, 1.9), (3.0, 6, 1.9), (4.0, 6, 3.9)) == [False, False, False, True]


def test_silence_is_no_black_hole() -> None:
    assert not any(look(BlackHole(), *((float(at), 3 + at, 0.5) for at in range(1, 20))))


def test_end_of_silence_is_no_black_hole() -> None:
    hole = BlackHole()
    assert not any(look(hole, (1.0, 3, 0.5), (3.0, 5, 2.9), (3.1, 6, 2.9), (3.2, 0, 3.15), (3.3, 1, 3.25)))
    assert not any(look(hole, (4.0, 3, 3.9), (5.0, 4, 3.9)))
