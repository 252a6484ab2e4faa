"""Handshakes under way are bounded, and a flood of them keeps no real client out (RFC 9000 8.1.2)."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import ssl
from typing import TYPE_CHECKING, Any, cast

import pytest
from aioquic.asyncio.client import connect as connect_plainly
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

from pyconnector.transport.quic import connect, half_open
from pyconnector.transport.quic.half_open import (
    LEAST_TIME,
    PER_HOST,
    RETRY_ABOVE,
    TOKEN_LIFETIME,
    Admitted,
    HalfOpen,
    Retry,
)
from pyconnector.transport.settings import QuicSettings
from pyconnector.transport.udp.batched import UdpEndpoint
from tests.transport.conformance import open_both, read_all, until
from tests.transport.pairs.aioquic_pair import client_tls
from tests.transport.pairs.qh3_pair import serve

if TYPE_CHECKING:
    from pyconnector.transport.seam import Address, Connection

ENGINES = ["aioquic", *(["qh3"] if importlib.util.find_spec("qh3") else [])]
#: As of an engine's listener.
LIMIT = 256
REAL: Address = ("192.0.2.1", 4242)
FIRST = b"firstid8"


class Door:
    """Handshakes of a listener whose clock and chance are the test's; a connection is a number."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.time = 1000.0
        self.abandoned: list[int] = []
        self._count = 0
        self.table: HalfOpen[int] = HalfOpen(
            limit, now=lambda: self.time, random=self._random, abandon=self.abandoned.append
        )

    def _random(self, size: int) -> bytes:
        self._count += 1
        return self._count.to_bytes(size)

    def fill(self, count: int, host: str = "198.51.100.1", start: int = 0) -> None:
        for number in range(start, start + count):
            self.table.began(number, (host, 1000 + number))

    def retry(self, address: Address = REAL) -> Retry:
        verdict = self.table.judge(address, FIRST, b"")
        assert isinstance(verdict, Retry)
        return verdict

    def come_back(self, retry: Retry, address: Address = REAL) -> Admitted | Retry | None:
        return self.table.judge(address, retry.source, retry.token)


def test_the_first_handshakes_begin_at_once() -> None:
    door = Door()
    door.fill(RETRY_ABOVE - 1)
    assert door.table.judge(REAL, FIRST, b"") == Admitted(FIRST)
    assert door.table.judge(REAL, FIRST, b"a token of another server") == Admitted(FIRST)


def test_more_have_to_show_their_address() -> None:
    door = Door()
    door.fill(RETRY_ABOVE)
    retry = door.retry()
    assert retry.source != FIRST
    assert door.come_back(retry) == Admitted(FIRST, retry.source)
    assert len(door.table) == RETRY_ABOVE, "a Retry takes no place"


def test_a_token_holds_for_its_client_alone_and_not_for_long() -> None:
    door = Door()
    door.fill(RETRY_ABOVE)
    retry = door.retry()
    assert isinstance(door.come_back(retry, ("192.0.2.1", 4243)), Retry)
    assert isinstance(door.come_back(retry, ("192.0.2.2", 4242)), Retry)
    assert isinstance(door.table.judge(REAL, FIRST, retry.token), Retry), "another connection ID"
    for at in range(len(retry.token)):
        changed = retry.token[:at] + bytes([retry.token[at] ^ 1]) + retry.token[at + 1 :]
        assert isinstance(door.table.judge(REAL, retry.source, changed), Retry)
        assert isinstance(door.table.judge(REAL, retry.source, retry.token[:at]), Retry)
    door.time += TOKEN_LIFETIME
    assert isinstance(door.come_back(retry), Admitted)
    door.time += 0.002
    assert isinstance(door.come_back(retry), Retry)


def test_a_token_of_another_listener_is_none() -> None:
    door, other = Door(), Door()
    other.table._random(1)  # chance has gone on there
    other.table._secret = b"another"
    door.fill(RETRY_ABOVE)
    other.fill(RETRY_ABOVE)
    assert isinstance(door.come_back(other.retry()), Retry)


def test_one_address_has_so_many_places() -> None:
    door = Door()
    door.fill(PER_HOST)
    mine: Address = ("198.51.100.1", 1)
    assert door.come_back(door.retry(mine), mine) is None, "none makes room that has only begun"
    assert isinstance(door.come_back(door.retry()), Admitted), "another address has its own"
    door.time += LEAST_TIME
    assert isinstance(door.come_back(door.retry(mine), mine), Admitted)
    assert door.abandoned == [0], "the oldest makes room"
    assert len(door.table) == PER_HOST - 1


def test_a_full_table_takes_from_whoever_has_most() -> None:
    door = Door(limit=2 * PER_HOST)
    door.fill(PER_HOST)
    for number in range(PER_HOST):
        door.fill(1, host=f"203.0.113.{number}", start=1000 + number)
    assert door.come_back(door.retry()) is None
    door.time += LEAST_TIME
    assert isinstance(door.come_back(door.retry()), Admitted)
    assert door.abandoned == [0]


def test_what_is_over_gives_its_place_back() -> None:
    door = Door()
    door.fill(RETRY_ABOVE)
    assert door.table.ended(3)
    assert not door.table.ended(3)
    assert isinstance(door.table.judge(REAL, FIRST, b""), Admitted)
    for number in range(RETRY_ABOVE):
        door.table.ended(number)
    assert (len(door.table), door.table._hosts) == (0, {})


# -- with engines and sockets ----------------------------------------------------------------------------------------


def first_packet() -> bytes:
    """A client's first packet, right in every byte."""
    client = QuicConnection(configuration=QuicConfiguration(is_client=True, alpn_protocols=["argotunnel"]))
    client.connect(("127.0.0.1", 1), now=0.0)
    return client.datagrams_to_send(now=0.0)[0][0]


def listener_table(server: Any) -> HalfOpen[Any]:
    return cast("HalfOpen[Any]", server.listener._half_open)


async def works(client: Connection, far: Connection) -> None:
    near, other = await open_both(client, far)
    other.send_nowait(b"yes", finish=True)
    assert await read_all(near) == b"yes"
    client.close()


@pytest.mark.usefixtures("each_loop")
@pytest.mark.parametrize("server_engine", ENGINES)
@pytest.mark.parametrize("client_engine", ENGINES)
async def test_a_client_that_is_sent_a_retry_connects(
    monkeypatch: pytest.MonkeyPatch, server_engine: str, client_engine: str
) -> None:
    monkeypatch.setattr(half_open, "RETRY_ABOVE", 0)

    async with serve(QuicSettings(engine=server_engine)) as server:
        client = await connect(server.listener.address, tls=client_tls(), settings=QuicSettings(engine=client_engine))
        await works(client, await server.next())
        assert len(listener_table(server)) == 0


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("hosts", [1, 250])
async def test_unfinished_handshakes_keep_no_client_out(engine: str, hosts: int) -> None:
    """From one address and from many made-up ones: all of them on loopback, where answers reach nobody."""

    flood = [(first_packet(), (f"127.9.0.{number % hosts + 1}", 9)) for number in range(300)]
    async with serve(QuicSettings(engine=engine)) as server:
        listener: Any = server.listener
        listener._on_datagrams(flood)
        assert len(listener_table(server)) == RETRY_ABOVE
        client = await connect(server.listener.address, tls=client_tls(), settings=QuicSettings(engine=engine))
        await works(client, await server.next())
        listener._on_datagrams([(first_packet(), address) for _, address in flood])
        assert len(listener_table(server)) == RETRY_ABOVE


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_retry_is_smaller_than_what_asked_for_it(monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
    monkeypatch.setattr(half_open, "RETRY_ABOVE", 0)

    answers: list[Any] = []
    async with serve(QuicSettings(engine=engine)) as server:
        sender = await UdpEndpoint.open("127.0.0.1", 0, socket_buffer=1 << 20, on_datagrams=answers.extend)
        asked = first_packet()
        sender.send([(asked, server.listener.address)] * 3)
        await until(lambda: len(answers) == 3, "three answers")
        for answer, _ in answers:
            assert answer[0] & 0xF0 == 0xF0, "a Retry (RFC 9000 17.2.5)"
            assert len(answer) < len(asked) / 10
        assert len(listener_table(server)) == 0
        sender.close()


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_client_of_one_small_first_packet_connects(engine: str) -> None:
    """Without a post-quantum key share: the answer may be three times as large, and is larger."""

    configuration = QuicConfiguration(is_client=True, alpn_protocols=["argotunnel"], verify_mode=ssl.CERT_NONE)
    async with serve(QuicSettings(engine=engine)) as server:
        async with connect_plainly(*server.listener.address, configuration=configuration) as client:
            far = await server.next()
            _, writer = await client.create_stream()
            writer.write(b"hello")
            writer.write_eof()
            assert await (await far.accept_stream()).receive() == b"hello"
            writer.close()


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_client_that_says_no_more_costs_no_log_lines_and_no_work(
    monkeypatch: pytest.MonkeyPatch, engine: str, caplog: pytest.LogCaptureFixture
) -> None:
    timers = 0

    if engine == "qh3":
        driver = importlib.import_module("pyconnector.transport.quic.qh3_engine.driver").Qh3Driver
        fires = driver._on_timer

        def counted(self: Any) -> None:
            nonlocal timers
            timers += 1
            fires(self)

        monkeypatch.setattr(driver, "_on_timer", counted)
    async with serve(QuicSettings(engine=engine, handshake_timeout=0.5, keepalive=0.1)) as server:
        listener: Any = server.listener
        listener._on_datagrams([(first_packet(), (f"127.9.0.{number}", 9)) for number in range(1, 9)])
        assert len(listener_table(server)) == 8
        while len(listener_table(server)):
            await asyncio.sleep(0.01)
    assert not [record for record in caplog.records if record.name.startswith("pyconnector")]
    assert timers < 8 * 15, "timers that are due for nothing"
