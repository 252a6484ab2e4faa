"""BBR inside aioquic: what the adapter hears, what it answers, and that the engine selects it."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.congestion.base import create_congestion_control
from aioquic.quic.connection import QuicConnection
from aioquic.quic.packet import QuicPacketType
from aioquic.quic.packet_builder import QuicSentPacket
from aioquic.quic.rangeset import RangeSet
from aioquic.quic.recovery import QuicPacketSpace
from aioquic.tls import Epoch

from pyconnector.transport.congestion import register
from pyconnector.transport.quic.aioquic_engine.bbr import BbrCongestionControl, BbrRecovery, attach
from pyconnector.transport.settings import QuicSettings
from tests.transport.pairs.aioquic_pair import aioquic_pair

SIZE = 1200
RTT = 0.1


def make_recovery(**options: Any) -> tuple[BbrRecovery, QuicPacketSpace]:
    recovery = BbrRecovery(
        max_datagram_size=SIZE,
        initial_rtt=0.1,
        peer_completed_address_validation=True,
        send_probe=lambda: None,
        uniform=lambda: 0.5,
        **options,
    )
    space = QuicPacketSpace(is_application_data=True)
    recovery.spaces = [space]
    recovery.handshake_confirmed = True
    return recovery, space


class Sender:
    """What aioquic's connection does to send and to take acknowledgments in."""

    def __init__(self) -> None:
        self.recovery, self.space = make_recovery()
        self.cc = self.recovery._bbr_cc
        self.next_number = 0

    def send(self, now: float, *, most: int = 1000, size: int = SIZE) -> int:
        room = self.recovery.congestion_window - self.recovery.bytes_in_flight
        sent = 0
        while sent < most and self.recovery._pacer.next_send_time(now=now) is None and (sent + 1) * size <= room:
            self.recovery._pacer.update_after_send(now=now)
            sent += 1
        for _ in range(sent):
            packet = QuicSentPacket(
                epoch=Epoch.ONE_RTT,
                in_flight=True,
                is_ack_eliciting=True,
                is_crypto_packet=False,
                packet_number=self.next_number,
                packet_type=QuicPacketType.ONE_RTT,
                sent_time=now,
                sent_bytes=size,
            )
            self.next_number += 1
            self.recovery.on_packet_sent(packet=packet, space=self.space)
        return sent

    def ack(self, start: int, stop: int, now: float) -> None:
        self.recovery.on_ack_received(
            ack_rangeset=RangeSet([range(start, stop)]), ack_delay=0.0, now=now, space=self.space
        )


def test_registering_makes_the_name_known() -> None:
    register()
    assert isinstance(create_congestion_control("bbr", max_datagram_size=SIZE), BbrCongestionControl)


def test_the_plain_hook_works_without_the_recovery() -> None:
    register()
    connection = QuicConnection(configuration=QuicConfiguration(congestion_control_algorithm="bbr"))
    cc = connection._loss._cc
    assert isinstance(cc, BbrCongestionControl)
    assert not cc.is_attached
    packet = QuicSentPacket(
        epoch=Epoch.ONE_RTT,
        in_flight=True,
        is_ack_eliciting=True,
        is_crypto_packet=False,
        packet_number=0,
        packet_type=QuicPacketType.ONE_RTT,
        sent_time=100.0,
        sent_bytes=SIZE,
    )
    cc.on_packet_sent(packet=packet)
    assert cc.bytes_in_flight == SIZE
    window = cc.congestion_window
    cc.on_packet_acked(now=100.1, packet=packet)
    cc.on_rtt_measurement(now=100.1, rtt=0.1)
    assert cc.bytes_in_flight == 0
    assert cc.congestion_window == window + SIZE


def test_attaching_is_for_connections_that_have_not_begun() -> None:
    connection = QuicConnection(configuration=QuicConfiguration(verify_mode=ssl.CERT_NONE))
    attach(connection)
    recovery = connection._loss
    assert isinstance(recovery, BbrRecovery)
    connection.connect(("192.0.2.1", 443), now=100.0)
    assert connection._loss is recovery
    with pytest.raises(ValueError, match="before the connection begins"):
        attach(connection)


def test_first_flight_is_the_initial_window() -> None:
    sender = Sender()
    assert sender.send(100.0) == 10
    assert sender.recovery.bytes_in_flight == 10 * SIZE


def test_acknowledgments_count_when_the_next_attempt_to_send_begins() -> None:
    sender = Sender()
    sender.send(100.0)
    sender.ack(0, 5, 100.1)
    assert sender.cc.bbr.model.round_count == 0
    sender.ack(0, 10, 100.1)
    assert sender.recovery.congestion_window == 20 * SIZE
    assert sender.cc.bbr.model.round_count == 1
    assert sender.cc.bbr.model.min_rtt == pytest.approx(RTT)


def test_pacing_follows_bbr_not_the_window() -> None:
    sender = Sender()
    sender.send(100.0)
    sender.ack(0, 9, 100.1)
    rate = 2.77 * 10 * SIZE / RTT
    # Two packets are the least quantum; then the clock holds.
    assert sender.send(100.1) == 2
    assert sender.cc.bbr.controls.pacing_rate == pytest.approx(rate)
    wake = sender.recovery._pacer.next_send_time(now=100.1)
    assert wake == pytest.approx(100.1 + 2 * SIZE / rate)
    sender.recovery._pacer.update_rate(congestion_window=10**9, smoothed_rtt=0.001)
    assert sender.recovery._pacer.next_send_time(now=100.1) == pytest.approx(wake)


def test_after_silence_a_short_response_leaves_at_once() -> None:
    sender = Sender()
    sender.send(100.0)
    sender.ack(0, 10, 100.1)
    assert sender.send(100.1) == 10


def test_room_is_whole_datagrams() -> None:
    sender = Sender()
    sender.send(100.0, most=1, size=700)
    assert sender.recovery.bytes_in_flight == 700
    assert (sender.recovery.congestion_window - 700) % SIZE == 0
    assert sender.recovery.congestion_window == 700 + 9 * SIZE
    sender.cc.congestion_window = 100
    assert sender.recovery.congestion_window == 700


def test_room_and_reckoning_follow_a_larger_datagram() -> None:
    sender = Sender()
    sender.send(100.0, most=1, size=1452)
    assert sender.cc.largest_packet == 1452
    assert sender.cc.bbr.model.min_pipe_cwnd == 4 * 1452
    assert (sender.recovery.congestion_window - sender.recovery.bytes_in_flight) % 1452 == 0


def test_running_out_of_data_is_noticed_at_the_next_acknowledgment_or_attempt() -> None:
    sender = Sender()
    sender.send(100.0, most=3)
    sender.recovery._pacer.next_send_time(now=100.0)
    sender.ack(0, 1, 100.1)
    assert sender.cc.bbr.sampler.app_limited == 3 * SIZE


def test_a_full_window_or_a_held_packet_is_not_out_of_data() -> None:
    sender = Sender()
    sender.send(100.0)
    sender.ack(0, 1, 100.1)
    assert sender.cc.bbr.sampler.app_limited == 0
    sender.ack(1, 10, 100.1)
    sender.send(100.1)
    assert sender.cc.pacer.is_holding
    sender.ack(10, 11, 100.2)
    assert sender.cc.bbr.sampler.app_limited == 0


def test_room_that_an_acknowledgment_made_is_not_out_of_data() -> None:
    sender = Sender()
    sender.send(100.0)
    sender.ack(0, 3, 100.1)
    sender.ack(0, 6, 100.1)
    sender.send(100.1)
    assert sender.cc.bbr.sampler.app_limited == 0


def test_room_that_a_loss_timer_made_is_not_out_of_data() -> None:
    sender = Sender()
    sender.send(100.0)
    sender.ack(9, 10, 100.1)
    # That shows the first seven lost; the timer shows the other two.
    assert sender.recovery.congestion_window > 0
    sender.cc.congestion_window = sender.recovery.bytes_in_flight
    assert sender.recovery.bytes_in_flight == 2 * SIZE
    assert sender.recovery._pacer.next_send_time(now=100.2) is None
    sender.recovery.on_loss_detection_timeout(now=100.3)
    assert sender.recovery.bytes_in_flight == 0
    assert sender.recovery.congestion_window > 0
    assert sender.cc.bbr.sampler.app_limited == 0


def test_losses_count_with_the_acknowledgment_that_shows_them() -> None:
    sender = Sender()
    sender.send(100.0)
    sender.ack(5, 10, 100.1)
    assert sender.recovery.packets_lost == 5
    assert sender.cc.bbr.sampler.lost == 5 * SIZE
    assert sender.cc.bbr.recovery.is_recovering


def test_late_acknowledgment_of_all_lost_packets_is_an_undo() -> None:
    sender = Sender()
    sender.send(100.0)
    sender.ack(5, 10, 100.1)
    assert sender.cc.bbr.recovery.can_undo
    sender.ack(3, 10, 100.11)
    assert sender.cc.bbr.recovery.can_undo
    sender.ack(0, 10, 100.12)
    recovery = sender.cc.bbr.recovery
    assert (recovery.can_undo, recovery.is_recovering) == (False, False)


def test_persistent_congestion_leaves_one_packet() -> None:
    sender = Sender()
    sender.send(100.0)
    sender.ack(0, 9, 100.1)
    sender.cc.on_persistent_congestion()
    assert sender.cc.congestion_window == sender.cc.bytes_in_flight + SIZE


def test_discarded_packets_leave_flight() -> None:
    sender = Sender()
    sender.send(100.0)
    sender.recovery.discard_space(sender.space)
    assert sender.recovery.bytes_in_flight == 0
    assert sender.cc.bbr.sampler.lost == 0


def test_log_names_state_and_rate() -> None:
    data = make_recovery()[0]._cc.get_log_data()
    assert data["bbr-state"] == "Startup"
    assert data["cwnd"] == 10 * SIZE
    assert data["pacing_rate"] > 0


async def test_engine_selects_bbr_at_both_ends_and_carries_data() -> None:
    async with aioquic_pair(QuicSettings(congestion_control="bbr")) as (client, server):
        assert isinstance(client.core.recovery, BbrRecovery)
        assert isinstance(server.core.recovery, BbrRecovery)
        stream = await client.open_stream()
        sending = asyncio.ensure_future(stream.send(bytes(3_000_000)))
        accepted = await server.accept_stream()
        received = 0
        while received < 3_000_000:
            received += len(await accepted.receive())
        await sending
        assert client.core.recovery._bbr_cc.bbr.model.max_bw > 0
        assert client.statistics().congestion_window == client.core.recovery._bbr_cc.congestion_window
