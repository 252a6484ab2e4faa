"""Edges that cannot be used: one sentence for each attempt, a pause before the next, and nothing left behind."""

from __future__ import annotations

import asyncio
import logging
import socket
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pyconnector import Connector, ConnectorConfig
from pyconnector.connector.api.errors import RegistrationRefused, StartFailed
from pyconnector.connector.api.events import Event, Reconnecting, Refused
from pyconnector.edge import EdgeSettings, LocalEdge
from pyconnector.protocol.rpc.registration import Refusal, Registration
from tests.support.houses.house import Eager, config_for, config_to, tunnel
from tests.support.peers.scripted_edge import scripted_edge

#: These tests write on data streams themselves.
QUIC_ONLY = True

RULES = [{"service": "http_status:204"}]


@asynccontextmanager
async def attempt(config: ConnectorConfig, *, eager: bool = False) -> AsyncIterator[tuple[Connector, list[Event]]]:
    """A connector that has failed to connect once and waits to try again."""
    events: list[Event] = []
    failed = asyncio.Event()

    def observe(event: Event) -> None:
        events.append(event)
        if isinstance(event, Reconnecting):
            failed.set()

    connector = Connector(config, on_event=observe)
    connector._random = Eager() if eager else connector._random
    async with connector:
        await failed.wait()
        yield connector, events


def said(caplog: pytest.LogCaptureFixture) -> str:
    """The one sentence of a level that a user sees as trouble, from the connector."""
    (record,) = [
        record
        for record in caplog.records
        if record.levelno >= logging.WARNING and record.name != "pyconnector.edge" and record.name != "asyncio"
    ]
    assert record.exc_info is None
    assert "\n" not in record.getMessage()
    return record.getMessage()


async def test_nobody_listens_there(engine: str, caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as reserved:
        reserved.bind(("127.0.0.1", 0))
        address = reserved.getsockname()
    async with attempt(config_to(address, None, RULES, engine=engine, quic={"handshake_timeout": 0.5})):
        assert said(caplog).startswith("Cannot connect to the edge: ")


async def test_something_else_listens_there(engine: str, caplog: pytest.LogCaptureFixture) -> None:
    class Babble(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
            self.transport = transport

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            self.transport.sendto(b"\x00" * 50, addr)
            self.transport.sendto(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 10, addr)
            self.transport.sendto(b"\xc0\x00\x00\x00\x01\x00\x00" + data[:1000], addr)

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Babble, local_addr=("127.0.0.1", 0))
    address = transport.get_extra_info("sockname")
    async with attempt(config_to(address, None, RULES, engine=engine, quic={"handshake_timeout": 0.5})):
        assert said(caplog).startswith("Cannot connect to the edge: ")
    transport.close()


@pytest.mark.parametrize("trusted", ["another", "system"])
async def test_its_certificate_is_not_trusted(
    engine: str, trusted: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    from pyconnector.transport.tls.certificates import make_authority

    other = tmp_path / "other.pem"
    other.write_bytes(make_authority("another").certificate_pem)

    async with LocalEdge(EdgeSettings(tunnels=(tunnel(),))) as edge:
        async with attempt(config_to(edge.quic_address, other if trusted == "another" else None, RULES, engine=engine)):
            sentence = said(caplog)
            assert sentence.startswith("The edge's certificate is not trusted: ")
            # Who gave one needs no hint at it.
            assert ("--cacert" in sentence) == (trusted == "system")
        assert not edge.connectors.all()


async def test_its_certificate_is_for_another_name(engine: str, caplog: pytest.LogCaptureFixture) -> None:
    async with scripted_edge(names=("other.example",)) as edge:
        async with attempt(config_to(edge.listener.address, edge.ca_path, RULES, engine=engine)):
            assert said(caplog).startswith("The edge's certificate is not trusted: ")
        assert not edge.registrations


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"secret": b"wrong"}, "Invalid tunnel secret"),
        ({"tunnel_id": uuid.UUID(int=7)}, "Tunnel not found"),
        ({"account_tag": "someone else"}, "Tunnel not found"),
    ],
)
async def test_the_credentials_are_not_accepted(
    change: dict[str, object], cause: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with LocalEdge(EdgeSettings(tunnels=(tunnel(),))) as edge:
        config = config_for(edge, RULES)
        config = replace(config, credentials=replace(config.credentials, **change))  # type: ignore[arg-type]
        async with attempt(config) as (connector, events):
            sentence = said(caplog)
            assert sentence.startswith("The edge rejected the registration permanently")
            assert cause in sentence
            assert sentence.endswith("check the credentials")
            with pytest.raises(RegistrationRefused, match=cause):
                await connector.wait_ready()
            (refused,) = [event for event in events if isinstance(event, Refused)]
            assert refused.permanent
            (waiting,) = [event for event in events if isinstance(event, Reconnecting)]
            assert waiting.delay >= 60, "a permanent refusal is not retried hot"


async def test_it_never_answers_the_registration(engine: str, caplog: pytest.LogCaptureFixture) -> None:
    async with scripted_edge(None) as edge:
        config = config_to(edge.listener.address, edge.ca_path, RULES, engine=engine)
        config = replace(config, lifecycle=replace(config.lifecycle, rpc_timeout=0.3))
        async with attempt(config):
            assert said(caplog) == "Registration failed: registering failed: no answer within 0.3 s"


async def test_it_wants_to_be_asked_again_later(caplog: pytest.LogCaptureFixture) -> None:
    def busy(registration: Registration) -> Refusal:
        return Refusal(cause="come back later", retry_after=45.0, should_retry=True)

    async with scripted_edge(busy) as edge:
        async with attempt(config_to(edge.listener.address, edge.ca_path, RULES)) as (_, events):
            assert said(caplog) == "The edge refused the registration: come back later"
            (waiting,) = [event for event in events if isinstance(event, Reconnecting)]
            assert waiting.delay >= 45


async def test_it_comes_up_later(engine: str, tmp_path: Path) -> None:
    """The one that could not be reached is found once it is there."""
    settings = EdgeSettings(tunnels=(tunnel(),), ca_directory=tmp_path)

    async with LocalEdge(settings) as edge:
        address = edge.quic_address
    config = config_to(address, edge.ca_path, RULES, engine=engine, quic={"handshake_timeout": 0.3})
    async with attempt(config, eager=True) as (connector, _), LocalEdge(replace(settings, address=address)):
        async with asyncio.timeout(15):
            await connector.wait_ready()


async def test_no_address_of_it_can_be_used() -> None:
    config = config_to(("does-not-exist.invalid", 7844), None, RULES)
    with pytest.raises(StartFailed, match=r"failed to resolve any edge address .*does-not-exist\.invalid:7844"):
        await Connector(config).start()
