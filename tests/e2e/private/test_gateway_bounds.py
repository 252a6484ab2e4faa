"""What one client of the gateway can take of it: flows, guesses, lies, records."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from pyconnector.edge.access.failures import MAX_FAILURES
from pyconnector.edge.audit.log import AuditSettings
from pyconnector.edge.private.gateway import judge as judges
from tests.support.houses.gateway_house import ONRAMPS, echo_service, gateway_house, gateway_of, opened, record_of
from tests.support.peers.gateway import Client

pytestmark = pytest.mark.usefixtures("each_loop")


async def test_clients_that_stall_or_lie_are_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyconnector.edge.private.gateway.client.HANDSHAKE_TIMEOUT", 0.3)

    async with gateway_house() as house, echo_service() as port:
        gateway = gateway_of(house)
        for address in (gateway.http_address, gateway.socks_address):
            for start in (b"", b"\x05", b"CONNECT a:1 HTTP/1.1\r\nX: "):
                stalled = await Client.at(address)
                stalled.writer.write(start)
                began = time.monotonic()
                await stalled.rest()
                assert time.monotonic() - began < 8
                stalled.close()
        client, through = await opened(house, "http", "127.0.0.1", port)
        assert through
        client.close()


async def test_flows_of_one_token_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judges, "MAX_FLOWS_PER_TOKEN", 2)

    async with gateway_house() as house, echo_service() as port:
        clients = [await opened(house, "http", "127.0.0.1", port) for _ in range(3)]
        assert [through for _, through in clients] == [True, True, False]
        record = await record_of(house)
        assert record["ConnectionCloseReason"] == "TOO_MANY_ACTIVE_SESSIONS_FOR_USER"
        clients[0][0].close()
        await record_of(house, count=2)
        again, through = await opened(house, "http", "127.0.0.1", port)
        assert through
        for client in (clients[1][0], clients[2][0], again):
            client.close()


async def test_many_short_flows_at_once_leave_nothing() -> None:
    async with gateway_house() as house, echo_service() as port:

        async def one(number: int) -> None:
            client, through = await opened(house, ONRAMPS[number % 2], "127.0.0.1", port)
            assert through
            assert await client.ask(b"%d" % number) == b"%d" % number
            client.close()

        await asyncio.gather(*(one(number) for number in range(200)))
        await record_of(house, count=200)
        assert len(gateway_of(house).judge) == 0


async def test_nothing_is_served_that_cannot_be_recorded(tmp_path: Path) -> None:
    audit = {"audit": AuditSettings(directory=tmp_path, refuse_when_full=True)}
    async with gateway_house(edge=audit) as house, echo_service() as port:
        assert house.edge.audit is not None
        house.edge.audit._failing = True
        client = await Client.at(gateway_of(house).http_address)
        assert await client.http_connect("127.0.0.1", port) == 503
        assert (await record_of(house))["Reason"] == "audit_unavailable"
        house.edge.audit._failing = False
        client.close()


async def test_guessing_secrets_has_an_end() -> None:
    async with gateway_house() as house, echo_service() as port:
        for _ in range(MAX_FAILURES):
            client, _ = await opened(house, "http", "127.0.0.1", port, secret="wrong")
            client.close()
        client = await Client.at(gateway_of(house).http_address)
        assert await client.http_connect("127.0.0.1", port) == 429
        client.close()


async def test_whoever_shows_nothing_is_not_guessing() -> None:
    async with gateway_house() as house, echo_service() as port:
        client, through = await opened(house, "http", "127.0.0.1", port, user="", secret="")
        assert not through
        assert (await record_of(house))["Reason"] == "no_credentials"
        assert len(house.edge.gate.failures) == 0
        client.close()


async def test_new_flows_of_one_token_are_bounded_and_leave_few_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judges, "NEW_FLOWS", 5)

    async with gateway_house() as house, echo_service() as port:
        house.edge.gate.ticks = lambda: 7.0
        through = []
        for number in range(20):
            client, let = await opened(house, ONRAMPS[number % 2], "127.0.0.1", port)
            through.append(let)
            client.close()
        assert through == [True] * 5 + [False] * 15
        await record_of(house, count=6)
        await asyncio.sleep(0.05)
        reasons = [record["ConnectionCloseReason"] for record in gateway_of(house).records.recent]
        assert reasons.count("TOO_MANY_NEW_SESSIONS_FOR_USER") == 1
        assert len(reasons) == 6
        house.edge.gate.ticks = lambda: 8.0
        client, let = await opened(house, "http", "127.0.0.1", port)
        assert let
        client.close()


async def test_guesses_beyond_the_limit_leave_no_records() -> None:
    async with gateway_house() as house:
        for _ in range(MAX_FAILURES + 10):
            client, _ = await opened(house, "http", "127.0.0.1", 1, secret="wrong")
            client.close()
        assert len(gateway_of(house).records.recent) == MAX_FAILURES


SOCKS_LIES = {
    "methods that do not come": b"\x05\xff\x02",
    "a name of no length": b"\x05\x01\x02\x01\x00\x00",
    "a secret that does not come": b"\x05\x01\x02\x01\x01x\xffshort",
    "another version inside": b"\x05\x01\x02\x05\x01x\x01y",
    "HTTP to SOCKS": b"CONNECT a:1 HTTP/1.1\r\n\r\n",
    "one byte": b"\x05",
}


async def test_socks_clients_that_lie_or_stall_hold_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyconnector.edge.private.gateway.client.HANDSHAKE_TIMEOUT", 0.2)

    async with gateway_house() as house, echo_service() as port:
        gateway = gateway_of(house)
        for data in SOCKS_LIES.values():
            liar = await Client.at(gateway.socks_address)
            liar.writer.write(data)
            assert len(await liar.rest()) <= 4
            liar.close()
        long = await Client.at(gateway.socks_address)  # more than one message at once, behind each other
        long.writer.write(b"\x05\x01\x02" * 30_000)
        await long.rest()
        long.close()
        client, through = await opened(house, "socks", "127.0.0.1", port)
        assert through
        client.close()
        async with asyncio.timeout(5):
            while len(gateway._clients):
                await asyncio.sleep(0.01)
