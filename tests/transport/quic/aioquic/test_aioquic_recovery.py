"""Acknowledgments, round trips, losses, windows and pacing."""

from __future__ import annotations

import pytest
from aioquic.quic.packet_builder import QuicDeliveryState
from aioquic.quic.rangeset import RangeSet
from aioquic.quic.recovery import QuicPacketSpace
from hypothesis import given
from hypothesis import strategies as st

from pyconnector.transport.quic.aioquic_engine.packets import SentPacket
from pyconnector.transport.quic.aioquic_engine.recovery import (
    BURST_PACKETS,
    BURST_TIME,
    PACING_GAIN,
    QuickAcks,
    WindowPacer,
    WindowRecovery,
    _newly_acked,
)

SIZE = 1200


def _recovery(control: str = "reno") -> tuple[WindowRecovery, QuicPacketSpace]:
    recovery = WindowRecovery(
        congestion_control_algorithm=control,
        initial_rtt=0.1,
        max_datagram_size=SIZE,
        peer_completed_address_validation=True,
        send_probe=lambda: None,
    )
    space = QuicPacketSpace(is_application_data=True)
    recovery.spaces = [space]
    recovery.handshake_confirmed = True
    return recovery, space


def _send(recovery: QuickAcks, space: QuicPacketSpace, number: int, now: float, told: list[str] | None = None) -> None:
    packet = SentPacket(number)
    packet.sent_time, packet.sent_bytes = now, SIZE
    packet.in_flight = packet.is_ack_eliciting = True
    if told is not None:
        packet.delivery_handlers.append((lambda state, number: told.append(f"{state.name} {number}"), (number,)))
    recovery.on_packet_sent(packet=packet, space=space)


def _acknowledge(recovery: QuickAcks, space: QuicPacketSpace, *numbers: int, now: float, delay: float = 0.0) -> None:
    ranges = RangeSet()
    for number in numbers:
        ranges.add(number)
    recovery.on_ack_received(ack_rangeset=ranges, ack_delay=delay, now=now, space=space)


def test_packets_are_acknowledged_once_and_lost_behind_a_gap() -> None:
    recovery, space = _recovery()
    told: list[str] = []
    for number in range(6):
        _send(recovery, space, number, 1.0, told)
    _acknowledge(recovery, space, 0, 2, 3, 4, 5, now=1.05)
    _acknowledge(recovery, space, 0, 2, 3, 4, 5, now=1.06)
    assert told == ["ACKED 0", "ACKED 2", "ACKED 3", "ACKED 4", "ACKED 5", "LOST 1"]
    assert recovery.packets_lost == 1
    assert recovery.bytes_in_flight == 0
    assert space.ack_eliciting_in_flight == 0
    assert not space.sent_packets


def test_a_packet_close_to_the_newest_waits_for_the_time_threshold() -> None:
    recovery, space = _recovery()
    told: list[str] = []
    for number in range(3):
        _send(recovery, space, number, 1.0, told)
    _acknowledge(recovery, space, 2, now=1.08)
    assert told == ["ACKED 2"]
    assert space.loss_time == pytest.approx(1.0 + 0.08 * 9 / 8)
    recovery.on_loss_detection_timeout(now=1.1)
    assert told == ["ACKED 2", "LOST 0", "LOST 1"]


def test_the_peers_delay_is_no_part_of_the_round_trip() -> None:
    recovery, space = _recovery()
    for number in range(40):
        now = 1.0 + number
        _send(recovery, space, number, now)
        _acknowledge(recovery, space, number, now=now + 0.010 + (0.02 if number else 0.0), delay=0.02)
    assert recovery.round_trips is not None
    assert recovery.round_trips == pytest.approx((0.010, 0.010, 0.010))
    assert recovery.round_trip == pytest.approx(0.010)


def test_a_short_path_is_not_taken_for_as_long_as_the_peers_delay() -> None:
    recovery, space = _recovery()
    for number in range(40):
        now = 1.0 + number
        _send(recovery, space, number, now)
        _acknowledge(recovery, space, number, now=now + 0.0003 + (0.02 if number else 0.0), delay=0.02)
    assert recovery.round_trip == pytest.approx(0.001)


@pytest.mark.parametrize("control", ["reno", "cubic"])
def test_a_window_that_is_not_used_does_not_grow(control: str) -> None:
    recovery, space = _recovery(control)
    before = recovery.window
    for number in range(100):
        _send(recovery, space, number, 1.0 + number / 100)
        _acknowledge(recovery, space, number, now=1.005 + number / 100)
    assert recovery.window == before
    for number in range(100, 110):
        _send(recovery, space, number, 3.0)
    _acknowledge(recovery, space, *range(100, 110), now=3.01)
    assert recovery.window > before


def test_pacing_spreads_the_window_over_a_round_trip() -> None:
    pacer = WindowPacer(max_datagram_size=SIZE)
    assert pacer.next_send_time(0.0) is None, "nothing is known of the path yet"
    pacer.update_rate(congestion_window=100 * SIZE, smoothed_rtt=0.1)
    now, sent = 0.0, 0
    while now < 1.0:
        pacer.begin()
        at = pacer.next_send_time(now)
        if at is None:
            pacer.update_after_send(now)
            pacer.paid(SIZE)
            sent += 1
        else:
            assert at > now
            now = at
    assert sent == pytest.approx(PACING_GAIN * 1000, rel=0.02)


def test_one_burst_is_bounded_however_long_the_sender_was_silent() -> None:
    pacer = WindowPacer(max_datagram_size=SIZE)
    pacer.update_rate(congestion_window=1000 * SIZE, smoothed_rtt=0.1)
    for now in (10.0, 20.0):
        pacer.begin()
        burst = 0
        while pacer.next_send_time(now) is None:
            pacer.update_after_send(now)
            burst += 1
        for _ in range(burst):
            pacer.paid(SIZE)
        assert burst == max(BURST_PACKETS, PACING_GAIN * 10_000 * BURST_TIME)


@given(
    sent=st.sets(st.integers(min_value=0, max_value=60)),
    acked=st.sets(st.integers(min_value=0, max_value=60), min_size=1),
)
def test_newly_acknowledged_packets_are_found(sent: set[int], acked: set[int]) -> None:
    packets = {number: SentPacket(number) for number in sorted(sent)}
    ranges = RangeSet()
    for number in acked:
        ranges.add(number)
    found = [packet.packet_number for packet in _newly_acked(packets, ranges)]  # type: ignore[arg-type]
    assert found == sorted(sent & acked)


def test_the_delivery_states_are_those_that_streams_know() -> None:
    assert {state.name for state in QuicDeliveryState} == {"ACKED", "LOST"}
