"""The path model with literal numbers (draft-ietf-ccwg-bbr 5.5)."""

from __future__ import annotations

import math

import pytest

from pyconnector.transport.congestion.bbr_model import PathModel, inflight_at_loss, is_inflight_too_high
from tests.transport.congestion.samples import sample


def started_model() -> PathModel:
    model = PathModel(smss=1000)
    model.start_clock(100.0)
    return model


# 5.5.1


def test_round_ends_with_the_acknowledgment_of_a_packet_sent_after_it_began() -> None:
    model = started_model()
    model.start_round(50_000)
    model.update_max_bw(sample(prior_delivered=49_999), delivered=60_000)
    before = model.round_start
    model.update_max_bw(sample(prior_delivered=50_000), delivered=61_000)
    assert (before, model.round_start) == (False, True)
    assert model.round_count == 1
    assert model.rounds_since_probe_up == 1
    assert model.next_round_delivered == 61_000


# 5.5.4 to 5.5.6


def test_bandwidth_is_the_greatest_sample_of_this_cycle_and_the_one_before() -> None:
    model = started_model()
    model.update_max_bw(sample(rate=900), delivered=0)
    model.update_max_bw(sample(rate=500), delivered=0)
    assert model.max_bw == 900
    model.advance_max_bw_filter()
    model.update_max_bw(sample(rate=500), delivered=0)
    assert model.max_bw == 900
    model.advance_max_bw_filter()
    model.update_max_bw(sample(rate=400), delivered=0)
    assert model.max_bw == 500


def test_sample_that_the_application_limited_counts_only_if_it_is_the_greatest() -> None:
    model = started_model()
    model.update_max_bw(sample(rate=900), delivered=0)
    model.advance_max_bw_filter()
    model.advance_max_bw_filter()
    model.update_max_bw(sample(rate=800, is_app_limited=True), delivered=0)
    assert model.max_bw == 900
    model.update_max_bw(sample(rate=1000, is_app_limited=True), delivered=0)
    assert model.max_bw == 1000


def test_sample_without_a_rate_changes_nothing() -> None:
    model = started_model()
    model.update_max_bw(sample(rate=0.0), delivered=0)
    assert model.max_bw == 0.0


def test_bandwidth_in_use_is_the_lower_of_both_time_scales() -> None:
    model = started_model()
    model.update_max_bw(sample(rate=900), delivered=0)
    model.bound_bw()
    assert model.bw == 900
    model.bw_shortterm = 700
    model.bound_bw()
    assert model.bw == 700


# 5.5.9


def test_excess_over_what_the_bandwidth_explains_is_aggregation() -> None:
    model = started_model()
    model.bw = 100_000
    # 5000 bytes after 0.1 s are less than the 10 000 expected: a new interval begins, and counts this acknowledgment.
    model.update_ack_aggregation(5000, cwnd=100_000, now=100.1, full_bw_reached=True)
    assert model.extra_acked == 5000
    # 4000 more after 0.02 s, of which 2000 were expected.
    model.update_ack_aggregation(4000, cwnd=100_000, now=100.12, full_bw_reached=True)
    assert model.extra_acked == pytest.approx(7000)


def test_aggregation_is_remembered_for_ten_rounds_or_for_one_in_startup() -> None:
    for full_bw_reached, lasts in ((True, 10), (False, 1)):
        model = started_model()
        model.bw = 100_000
        model.update_ack_aggregation(9000, cwnd=100_000, now=100.1, full_bw_reached=full_bw_reached)
        model.round_count += lasts - 1
        model.update_ack_aggregation(1000, cwnd=100_000, now=200.0, full_bw_reached=full_bw_reached)
        assert model.extra_acked == 9000
        model.round_count += 1
        model.update_ack_aggregation(1000, cwnd=100_000, now=300.0, full_bw_reached=full_bw_reached)
        assert model.extra_acked == 1000


def test_aggregation_is_bounded_by_the_window_and_by_a_tenth_of_a_second() -> None:
    model = started_model()
    model.bw = 100_000
    model.update_ack_aggregation(90_000, cwnd=4000, now=100.1, full_bw_reached=True)
    assert model.extra_acked == 4000
    model.update_ack_aggregation(90_000, cwnd=500_000, now=100.1, full_bw_reached=True)
    assert model.extra_acked == pytest.approx(10_000)


def test_what_was_acknowledged_before_silence_is_no_aggregation_after_it() -> None:
    model = started_model()
    model.bw = 100_000
    model.update_ack_aggregation(9000, cwnd=100_000, now=100.1, full_bw_reached=False)
    model.restart_ack_aggregation(200.0)
    model.round_count += 1
    model.update_ack_aggregation(1000, cwnd=100_000, now=200.0, full_bw_reached=False)
    assert model.extra_acked == 1000


# 5.5.10.2


def test_loss_over_two_per_cent_of_what_was_in_flight_is_too_much() -> None:
    assert not is_inflight_too_high(lost=2000, tx_in_flight=100_000)
    assert is_inflight_too_high(lost=2001, tx_in_flight=100_000)


def test_volume_at_which_the_loss_rate_was_crossed_lies_within_the_lost_packet() -> None:
    # 100 000 in flight with this packet, 1500 lost before it: 2 % are reached 490 bytes into it.
    at_loss = inflight_at_loss(size=1000, tx_in_flight=100_000, lost=2500)
    assert at_loss == pytest.approx(99_000 + (0.02 * 99_000 - 1500) / 0.98)
    lost_by_then = 1500 + (at_loss - 99_000)
    assert lost_by_then / at_loss == pytest.approx(0.02)


# 5.5.10.3


def test_loss_slows_to_the_latest_delivery_but_by_at_most_three_tenths() -> None:
    model = started_model()
    model.max_bw = 1000.0
    model.bw_latest = 900.0
    model.inflight_latest = 50_000
    model.adapt_lower_bounds(cwnd=100_000)
    assert model.bw_shortterm == 900
    assert model.inflight_shortterm == pytest.approx(70_000)
    model.bw_latest = 100.0
    model.adapt_lower_bounds(cwnd=100_000)
    assert model.bw_shortterm == pytest.approx(630)
    model.reset_short_term_model()
    assert model.bw_shortterm == model.inflight_shortterm == math.inf


def test_latest_signals_are_the_best_of_one_round() -> None:
    model = started_model()
    model.loss_round_delivered = 50_000
    first = sample(rate=700, delivered=30_000, prior_delivered=40_000)
    model.update_latest_delivery_signals(first, delivered=60_000)
    model.advance_latest_delivery_signals(first)
    second = sample(rate=500, delivered=35_000, prior_delivered=41_000)
    model.update_latest_delivery_signals(second, delivered=61_000)
    model.advance_latest_delivery_signals(second)
    assert (model.bw_latest, model.inflight_latest) == (700, 35_000)
    before = model.loss_round_start
    third = sample(rate=400, delivered=20_000, prior_delivered=50_000)
    model.update_latest_delivery_signals(third, delivered=70_000)
    assert (before, model.loss_round_start) == (False, True)
    assert model.loss_round_delivered == 70_000
    assert model.bw_latest == 700
    model.advance_latest_delivery_signals(third)
    assert (model.bw_latest, model.inflight_latest) == (400, 20_000)


# 5.3.4.3


def test_min_rtt_follows_lower_samples_at_once_and_higher_ones_after_ten_seconds() -> None:
    model = started_model()
    model.update_min_rtt(0.100, 100.0)
    model.update_min_rtt(0.090, 101.0)
    model.update_min_rtt(0.120, 105.9)
    assert model.min_rtt == 0.090
    model.update_min_rtt(0.120, 106.1)
    assert model.probe_rtt_min_delay == 0.120
    assert model.min_rtt == 0.090
    model.update_min_rtt(0.130, 111.05)
    assert model.min_rtt == 0.120
    assert model.min_rtt_stamp == 106.1


def test_probe_rtt_is_not_due_before_five_seconds() -> None:
    model = started_model()
    model.update_min_rtt(0.1, 100.0)
    model.update_min_rtt(0.2, 105.0)
    before = model.probe_rtt_expired
    model.update_min_rtt(0.2, 105.001)
    assert (before, model.probe_rtt_expired) == (False, True)


# 5.3.3.9, 5.6.4.2


def test_headroom_is_fifteen_per_cent_but_at_least_a_packet_and_leaves_four() -> None:
    model = started_model()
    assert model.inflight_with_headroom() == math.inf
    model.inflight_longterm = 100_000
    assert model.inflight_with_headroom() == pytest.approx(85_000)
    model.inflight_longterm = 6000
    assert model.inflight_with_headroom() == 5000
    model.inflight_longterm = 3000
    assert model.inflight_with_headroom() == 4000


def test_bdp_is_unknown_before_the_first_round_trip() -> None:
    model = started_model()
    assert model.bdp(1000.0) == math.inf
    model.update_min_rtt(0.1, 100.0)
    assert model.bdp(1000.0) == pytest.approx(100)


def test_repr_shows_the_estimates() -> None:
    assert "max_bw=0" in repr(started_model())
