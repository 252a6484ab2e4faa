"""Damaged HTTP/2 against the edge: it answers or closes, and never fails in a way that nobody foresaw."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes
from hypothesis import given, settings

from pyconnector.edge.connectors.tunnels import Tunnels
from pyconnector.edge.settings import VisitorSettings
from pyconnector.edge.visitors.first_bytes import FirstBytes
from pyconnector.edge.visitors.server import VisitorServer
from tests.support.wire.strategies import chunked, cuts, damage, damaged


class FakeSocket(asyncio.Transport):
    """A socket that takes everything, whose protocol is called by the test."""

    def __init__(self) -> None:
        super().__init__()
        self.protocol: Any = None
        self.written = bytearray()
        self.closed = False
        self.paused = False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: Any) -> None:
        self.written += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        pass

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close


def conversation() -> bytes:
    """What a visitor says: settings, requests with and without bodies, a reset, a ping, credit, a farewell."""
    h2 = H2Connection(H2Configuration(client_side=True))
    h2.initiate_connection()
    h2.update_settings({SettingCodes.HEADER_TABLE_SIZE: 128})
    fields = [(":method", "POST"), (":scheme", "http"), (":authority", "a.test"), (":path", "/"), ("te", "trailers")]
    h2.send_headers(1, [*fields, ("content-type", "application/grpc")])
    h2.send_data(1, b"some of a body", pad_length=5)
    h2.send_headers(3, [*fields, ("content-length", "3")])
    h2.send_data(3, b"abc", end_stream=True)
    h2.prioritize(5, weight=3)
    h2.send_headers(5, [*fields, *((f"x-{number}", "y" * number) for number in range(40))], end_stream=True)
    h2.reset_stream(1)
    h2.ping(b"12345678")
    h2.increment_flow_control_window(1000)
    h2.close_connection()
    return h2.data_to_send()


CONVERSATION = conversation()


async def play(pieces: list[bytes]) -> FakeSocket:
    server = VisitorServer(VisitorSettings(), Tunnels(), "test")
    socket = FakeSocket()
    socket.protocol = FirstBytes(server)
    socket.protocol.connection_made(socket)
    for piece in pieces:
        if not socket.closed:
            socket.protocol.data_received(piece)
            await asyncio.sleep(0)
    for _ in range(5):
        await asyncio.sleep(0)
    socket.protocol.check_time(asyncio.get_running_loop().time() + 1e6)
    socket.protocol.connection_lost(None)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not len(server.tasks), "tasks are left"
    assert not len(server), "connections are left"
    return socket


def answers(written: bytes) -> list[Any]:
    h2 = H2Connection(H2Configuration(client_side=True))
    h2.initiate_connection()
    for _ in range(3):
        stream_id = h2.get_next_available_stream_id()
        h2.send_headers(stream_id, [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")])
    return list(h2.receive_data(written))


async def test_the_undamaged_conversation_is_answered_in_whatever_pieces() -> None:
    for size in (1, 2, 9, 100, len(CONVERSATION)):
        pieces = [CONVERSATION[at : at + size] for at in range(0, len(CONVERSATION), size)]
        socket = await play(pieces)
        kinds = [type(event).__name__ for event in answers(bytes(socket.written))]
        assert kinds.count("ResponseReceived") >= 2, kinds
        assert "PingAckReceived" in kinds


@settings(max_examples=300)
@given(damage, cuts)
async def test_damage_is_answered_or_ends_the_connection(rng: random.Random, places: list[int]) -> None:
    wire = CONVERSATION[:24] + damaged(CONVERSATION[24:], rng)
    await play(chunked(wire, places))
