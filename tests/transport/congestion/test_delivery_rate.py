"""Delivery-rate samples with literal times (draft-ietf-ccwg-bbr 4.1)."""

from __future__ import annotations

import pytest

from pyconnector.transport.congestion.delivery_rate import DeliveryRateSampler, RateSample


def sample_of(sampler: DeliveryRateSampler) -> RateSample:
    sample = sampler.generate()
    assert sample is not None
    return sample


def test_rate_is_data_delivered_since_the_packet_left_over_the_time_it_took() -> None:
    # 4.1.1.2: three packets at once; the third packet's sample spans 3000 bytes from its sending to its ACK.
    sampler = DeliveryRateSampler()
    for packet_id in range(3):
        sampler.on_sent(packet_id, 1000, now=10.0)
    for packet_id in range(3):
        sampler.on_acked(packet_id, now=10.0 + 0.1 * (packet_id + 1))
    sample = sample_of(sampler)
    assert sample.delivered == 3000
    assert sample.delivery_rate == pytest.approx(3000 / 0.3)
    assert sample.newly_acked == 3000


def test_interval_starts_at_the_acknowledgment_before_the_packet_left() -> None:
    # 4.1.2.2: P.delivered_time is the "knee" of the delivery curve before P, not the time P was sent.
    sampler = DeliveryRateSampler()
    sampler.on_sent(0, 1000, now=10.0)
    sampler.on_sent(1, 1000, now=10.0)
    sampler.on_acked(0, now=10.1)
    sample_of(sampler)
    sampler.on_sent(2, 1000, now=10.15)
    sampler.on_acked(1, now=10.2)
    sample_of(sampler)
    sampler.on_acked(2, now=10.3)
    sample = sample_of(sampler)
    assert sample.delivered == 2000
    assert sample.delivery_rate == pytest.approx(2000 / 0.2)


def test_acknowledgments_that_come_faster_than_data_was_sent_are_capped_by_the_send_rate() -> None:
    # 4.1.1.2.3: packets leave over 0.9 s, and an aggregated ACK covers all at once, a short time after the last.
    sampler = DeliveryRateSampler()
    for packet_id in range(10):
        sampler.on_sent(packet_id, 1000, now=10.0 + 0.1 * packet_id)
    for packet_id in range(10):
        sampler.on_acked(packet_id, now=10.95)
    assert sample_of(sampler).delivery_rate == pytest.approx(10_000 / 0.95)
    for packet_id in range(10, 20):
        sampler.on_sent(packet_id, 1000, now=11.0 + 0.1 * (packet_id - 10))
    sampler.on_acked(10, now=11.92)
    sample_of(sampler)
    for packet_id in range(11, 20):
        sampler.on_acked(packet_id, now=11.93)
    sample = sample_of(sampler)
    # From packet 10, the newest delivered before, at 11.0 to packet 19 at 11.9: sent in 0.9 s, acknowledged in 0.93 s.
    assert sample.delivery_rate == pytest.approx(10_000 / 0.93)


def test_newest_packet_of_the_batch_makes_the_sample_whatever_the_order() -> None:
    # 4.1.2.3, IsNewestPacket: by send time, then by packet id.
    sampler = DeliveryRateSampler()
    sampler.on_sent(0, 1000, now=10.0)
    sampler.on_sent(1, 1000, now=10.0)
    sampler.on_sent(2, 1000, now=10.5)
    for packet_id in (2, 1, 0):
        sampler.on_acked(packet_id, now=11.0)
    sample = sample_of(sampler)
    assert sample.tx_in_flight == 3000
    assert sample.rtt == pytest.approx(0.5)


def test_a_better_round_trip_than_the_clock_shows_is_taken() -> None:
    sampler = DeliveryRateSampler()
    sampler.on_sent(0, 1000, now=10.0)
    sampler.on_acked(0, now=10.125)
    sampler.on_rtt(0.1)
    assert sample_of(sampler).rtt == 0.1
    sampler.on_sent(1, 1000, now=11.0)
    sampler.on_acked(1, now=11.125)
    sampler.on_rtt(0.5)
    assert sample_of(sampler).rtt == pytest.approx(0.125)


def test_no_time_gives_no_rate() -> None:
    sampler = DeliveryRateSampler()
    sampler.on_sent(0, 1000, now=10.0)
    sampler.on_acked(0, now=10.0)
    sample = sample_of(sampler)
    assert sample.delivery_rate == 0.0
    assert sample.delivered == 1000


def test_samples_are_application_limited_until_the_bubble_has_left_the_pipe() -> None:
    # 4.1.2.4: packets sent while app_limited is set are marked; it clears once delivered passes it.
    sampler = DeliveryRateSampler()
    sampler.on_sent(0, 1000, now=10.0)
    sampler.on_sent(1, 1000, now=10.0)
    sampler.mark_app_limited()
    assert sampler.app_limited == 2000
    sampler.on_acked(0, now=10.1)
    assert not sample_of(sampler).is_app_limited
    sampler.on_sent(2, 1000, now=10.1)
    sampler.on_acked(1, now=10.15)
    sample_of(sampler)
    assert sampler.app_limited == 2000
    sampler.on_acked(2, now=10.2)
    assert sample_of(sampler).is_app_limited
    assert sampler.app_limited == 0
    sampler.on_sent(3, 1000, now=10.2)
    sampler.on_acked(3, now=10.3)
    assert not sample_of(sampler).is_app_limited


def test_idle_connection_marked_before_its_first_byte_is_application_limited() -> None:
    sampler = DeliveryRateSampler()
    sampler.mark_app_limited()
    assert sampler.app_limited == 1


def test_first_packet_after_silence_starts_a_new_interval() -> None:
    # 4.1.2.2: with nothing in flight, the delivery interval starts at the sending.
    sampler = DeliveryRateSampler()
    sampler.on_sent(0, 1000, now=10.0)
    sampler.on_acked(0, now=10.1)
    sample_of(sampler)
    sampler.on_sent(1, 1000, now=60.0)
    sampler.on_acked(1, now=60.1)
    assert sample_of(sampler).delivery_rate == pytest.approx(10_000)


def test_losses_are_counted_from_the_sending_of_each_packet() -> None:
    # 2.3, RS.lost: lost between the transmission and the acknowledgment of the newest packet.
    sampler = DeliveryRateSampler()
    for packet_id in range(4):
        sampler.on_sent(packet_id, 1000, now=10.0)
    first = sampler.on_lost(0)
    assert first is not None
    assert (first.size, first.tx_in_flight, first.lost) == (1000, 1000, 1000)
    sampler.on_sent(4, 1000, now=10.1)
    second = sampler.on_lost(1)
    assert second is not None
    assert (second.tx_in_flight, second.lost) == (2000, 2000)
    sampler.on_acked(4, now=10.2)
    sampler.on_lost(2)
    sample = sample_of(sampler)
    assert sample.lost == 2000
    assert sample.newly_lost == 1000
    assert sampler.lost == 3000
    assert sampler.inflight == 1000
    sampler.on_sent(5, 1000, now=10.3)
    third = sampler.on_lost(5)
    assert third is not None
    assert third.lost == 1000


def test_packet_counts_once_whatever_is_said_of_it_later() -> None:
    sampler = DeliveryRateSampler()
    sampler.on_sent(0, 1000, now=10.0)
    sampler.on_acked(0, now=10.1)
    sampler.on_acked(0, now=10.2)
    assert sampler.on_lost(0) is None
    sampler.on_expired(0)
    assert (sampler.delivered, sampler.lost, sampler.inflight) == (1000, 0, 0)


def test_expired_packet_is_neither_delivered_nor_lost() -> None:
    sampler = DeliveryRateSampler()
    sampler.on_sent(0, 1000, now=10.0)
    sampler.on_expired(0)
    assert (sampler.delivered, sampler.lost, sampler.inflight) == (0, 0, 0)
    assert sampler.generate() is None


def test_nothing_acknowledged_means_no_sample() -> None:
    sampler = DeliveryRateSampler()
    sampler.on_sent(0, 1000, now=10.0)
    assert sampler.generate() is None


def test_state_is_held_for_packets_in_flight_only() -> None:
    sampler = DeliveryRateSampler()
    for packet_id in range(1000):
        sampler.on_sent(packet_id, 1000, now=float(packet_id))
        if packet_id >= 10:
            sampler.on_acked(packet_id - 10, now=packet_id + 0.5)
            sampler.generate()
    assert len(sampler._packets) == 10
    assert repr(sampler) == "<DeliveryRateSampler inflight=10000 delivered=990000 lost=0>"
