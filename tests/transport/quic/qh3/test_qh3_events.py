"""Which events of the qh3 engine's core wait, and for what (`prepared`)."""

from __future__ import annotations

import pytest

pytest.importorskip("qh3", reason="the qh3 engine is not installed")

from pyconnector.transport.quic.qh3_engine.prepared import AHEAD, LATE, PATIENCE, PREPARED, Prepared
from pyconnector.transport.settings import QuicSettings

STREAMS = 100
#: Packets after which frames that were prepared have left.
ENOUGH = PREPARED + AHEAD
#: The same for the frame of a stream that was given up.
ENOUGH_FOR_ALL = ENOUGH + STREAMS


def blocked(*, probes: bool = False) -> Prepared:
    """Return a state in which packets were given up and frames may be left over."""
    prepared = Prepared()
    prepared.packets_given_up(5.0, STREAMS, probes=probes)
    assert prepared.is_risky(5.0)
    assert not sent(prepared, 3)
    assert prepared.are_left
    return prepared


def sent(prepared: Prepared, packets: int) -> bool:
    """Let a flush that leaves frames send so many packets."""
    return prepared.some_are_left(packets, prepared.waiting, STREAMS)


def test_events_wait_until_nothing_is_left() -> None:
    prepared = blocked()
    prepared.withhold(4, STREAMS)
    assert (prepared.waiting, prepared.free(10)) == (4, 6)
    assert not sent(prepared, 1)
    assert prepared.free(4) == 0
    assert prepared.none_are_left()
    assert not prepared.waiting
    assert not prepared.are_left


def test_events_wait_for_as_many_packets_as_may_be_prepared_before_them() -> None:
    prepared = blocked()
    prepared.withhold(4, STREAMS)
    sent(prepared, ENOUGH - 1)
    prepared.withhold(2, STREAMS)
    assert prepared.free(6) == 0
    assert sent(prepared, 1)
    assert prepared.free(6) == 4
    prepared.taken(4, 6)
    sent(prepared, ENOUGH)
    assert prepared.free(2) == 2


def test_after_a_probe_every_stream_may_have_been_prepared() -> None:
    prepared = blocked(probes=True)
    prepared.withhold(4, STREAMS)
    sent(prepared, ENOUGH + STREAMS - 1)
    assert prepared.free(4) == 0
    sent(prepared, 1)
    assert prepared.free(4) == 4


def test_events_wait_as_long_as_a_machine_without_cpu_may_take() -> None:
    """What was given up may wait in a socket for as long as an idle connection lives."""
    prepared = blocked()
    assert prepared.is_risky(5.0 + QuicSettings().idle_timeout)
    assert not prepared.is_risky(5.1 + LATE)


def test_streams_given_up_are_risky_until_their_frames_left() -> None:
    prepared = Prepared()
    assert not prepared.is_risky(5.0)
    prepared.stream_given_up(5.0, STREAMS)
    sent(prepared, ENOUGH_FOR_ALL - 1)
    assert prepared.is_risky(500.0), "whatever time it takes"
    sent(prepared, 1)
    assert not prepared.is_risky(5.0)


def test_streams_given_up_wait_behind_all_that_a_probe_prepared() -> None:
    prepared = blocked(probes=True)
    prepared.stream_given_up(5.0, STREAMS)
    sent(prepared, ENOUGH_FOR_ALL + STREAMS - 1)
    assert prepared.is_risky(500.0)
    sent(prepared, 1)
    assert not prepared.is_risky(500.0)


def test_frames_of_streams_given_up_are_risky_again_once_they_are_lost() -> None:
    prepared = Prepared()
    prepared.stream_given_up(5.0, STREAMS)
    sent(prepared, ENOUGH_FOR_ALL)
    prepared.packets_given_up(6.0, STREAMS, probes=False)
    prepared.withhold(1, STREAMS)
    sent(prepared, ENOUGH_FOR_ALL - 1)
    assert prepared.free(1) == 0
    sent(prepared, 1)
    assert prepared.free(1) == 1


def test_events_wait_for_streams_given_up_after_them_but_not_for_ever() -> None:
    prepared = blocked()
    prepared.withhold(1, STREAMS)
    packets = 0
    while not prepared.free(1):
        prepared.stream_given_up(5.0, STREAMS)
        sent(prepared, 1)
        packets += 1
        assert packets < 10_000
    assert packets == PATIENCE * ENOUGH_FOR_ALL


def test_events_that_were_not_taken_when_free_wait_again() -> None:
    """A frame of their stream may have been prepared since, behind one of each other."""
    prepared = blocked()
    prepared.none_are_left()
    assert prepared.free(3) == 3
    prepared.withhold(1, STREAMS)
    assert not prepared.some_are_left(0, 4, STREAMS)
    sent(prepared, ENOUGH)
    assert prepared.free(4) == 0
    sent(prepared, ENOUGH_FOR_ALL - ENOUGH)
    assert prepared.free(4) == 4


def test_what_was_taken_waits_no_longer() -> None:
    prepared = blocked()
    for events in (3, 4):
        prepared.withhold(events, STREAMS)
    sent(prepared, ENOUGH)
    assert prepared.free(9) == 9
    prepared.taken(6, 9)
    assert (prepared.waiting, prepared.free(3)) == (3, 3)
    prepared.taken(3, 3)
    assert (prepared.waiting, prepared.free(0)) == (0, 0)


def test_events_wait_for_a_stream_given_up_by_one_before_them() -> None:
    prepared = blocked()
    prepared.withhold(4, STREAMS)
    sent(prepared, ENOUGH)
    prepared.taken(1, 4)
    prepared.stream_given_up(5.0, STREAMS)
    assert prepared.free(3) == 0
    sent(prepared, ENOUGH_FOR_ALL)
    assert prepared.free(3) == 3


def test_packets_do_not_count_while_nothing_is_left() -> None:
    """They may carry acknowledgements alone, while what was given up is held back."""
    prepared = blocked()
    prepared.stream_given_up(5.0, STREAMS)
    for _ in range(ENOUGH_FOR_ALL):
        prepared.none_are_left()
    assert prepared.is_risky(500.0)


def test_a_ping_is_tried_once_until_packets_are_sent() -> None:
    prepared = Prepared()
    assert prepared.may_ask(0)
    assert not prepared.may_ask(0)
    assert prepared.may_ask(1)
    assert not prepared.may_ask(0)
    prepared.none_are_left()
    assert prepared.may_ask(0)
