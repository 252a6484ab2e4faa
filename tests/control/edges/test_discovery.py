"""The DNS listener of the control plane: connectors find the edges of the mesh by it, and it is bounded."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import httpx
import pytest

from pyconnector import Connector, Credentials
from pyconnector.connector.cli.account import names, ready_config
from pyconnector.connector.discovery import refresh
from pyconnector.connector.discovery.places import parse_discovery
from pyconnector.connector.discovery.srv_lookup import look_up, srv_name
from pyconnector.control.discovery import edges as known_edges
from pyconnector.control.discovery import server as dns_server
from pyconnector.control.discovery.records import LEAST_UDP, MAX_EDGES, EdgeAddress, answer, for_udp, places_of
from pyconnector.control.discovery.server import DnsServer
from pyconnector.control.plane import ControlPlane
from pyconnector.control.settings import ControlPlaneSettings
from pyconnector.protocol.tokens import decode_token
from tests.control.edges.test_drain import registered
from tests.control.edges.test_edges import until
from tests.control.edges.test_many_edges import joined
from tests.control.support import Mesh
from tests.support.houses.house import config_for
from tests.support.loop.turns import TurnMeter

SRV = srv_name("")
TWO = [EdgeAddress("192.0.2.1", 7844), EdgeAddress("192.0.2.2", 7844)]


def ask(name: str, kind: str = "SRV", edges: Sequence[EdgeAddress] = TWO, **options: Any) -> dns.message.Message:
    whole = answer(dns.message.make_query(name, kind, **options).to_wire(), edges, shuffle=lambda _: None)
    assert whole is not None
    return dns.message.from_wire(whole)


def texts(message: dns.message.Message) -> list[str]:
    return sorted(str(record) for rrset in message.answer for record in rrset)


def test_edges_of_one_port_are_shared_among_two_regions() -> None:
    three = [*TWO, EdgeAddress("2001:db8::3", 7844)]
    assert texts(ask(SRV, edges=three)) == [f"1 1 7844 region{n}.v2.argotunnel.com." for n in (1, 2)]
    assert texts(ask("region1.v2.argotunnel.com", "A", three)) == ["192.0.2.1"]
    assert texts(ask("region1.v2.argotunnel.com", "AAAA", three)) == ["2001:db8::3"]
    assert texts(ask("us-REGION2.v2.example.org", "A", three)) == ["192.0.2.2"]
    assert ask(SRV).flags & dns.flags.AA


def test_one_edge_is_both_regions_and_many_ports_are_many_hosts() -> None:
    assert places_of(TWO[:1]) == {"region1": (7844, ["192.0.2.1"]), "region2": (7844, ["192.0.2.1"])}
    other = [*TWO, EdgeAddress("192.0.2.2", 1)]
    assert places_of(other) == {"port7844": (7844, ["192.0.2.1", "192.0.2.2"]), "port1": (1, ["192.0.2.2"])}
    assert texts(ask("_us-v2-origintunneld._tcp.mesh.example", edges=other)) == [
        "1 1 1 port1.v2.mesh.example.", "1 1 7844 port7844.v2.mesh.example.",
    ]  # fmt: skip
    assert not ask(SRV, edges=[]).answer


@pytest.mark.parametrize(
    ("name", "kind", "code"),
    [
        ("example.org", "A", dns.rcode.REFUSED),
        (".", "SRV", dns.rcode.REFUSED),
        ("region9.v2.argotunnel.com", "A", dns.rcode.NXDOMAIN),
        ("region1.v2.argotunnel.com", "TXT", dns.rcode.NOERROR),
    ],
)
def test_other_questions_have_no_records(name: str, kind: str, code: dns.rcode.Rcode) -> None:
    message = ask(name, kind)
    assert (message.rcode(), message.answer) == (code, [])


def test_what_is_no_query_is_not_answered_and_malformed_ones_are_told() -> None:
    query = dns.message.make_query(SRV, "SRV")
    for data in (b"", b"x" * 11, ask(SRV).to_wire()):
        assert answer(data, TWO, shuffle=lambda _: None) is None
    torn = answer(query.to_wire()[:-3], TWO, shuffle=lambda _: None)
    assert torn is not None
    assert dns.message.from_wire(torn).rcode() == dns.rcode.FORMERR
    query.set_opcode(dns.opcode.NOTIFY)
    told = answer(query.to_wire(), TWO, shuffle=lambda _: None)
    assert told is not None
    assert dns.message.from_wire(told, question_only=True).rcode() == dns.rcode.NOTIMP


def test_an_answer_without_room_says_so_and_is_bounded() -> None:
    many = [EdgeAddress(f"192.0.2.{number}", number + 1) for number in range(200)]
    query = dns.message.make_query(SRV, "SRV", use_edns=False)
    whole = answer(query.to_wire(), many, shuffle=lambda _: None)
    assert whole is not None
    assert len(dns.message.from_wire(whole).answer[0]) == MAX_EDGES
    short = for_udp(whole, query.to_wire())
    assert len(short) <= LEAST_UDP
    assert dns.message.from_wire(short).flags & dns.flags.TC
    few = ask(SRV).to_wire()
    assert for_udp(few, query.to_wire()) == few


_NAME = b"".join(b"\1" + bytes([97 + number % 26]) for number in range(126)) + b"\0"


def _message(counts: tuple[int, int, int, int], records: bytes, opcode: int = 0) -> bytes:
    return b"ab" + bytes([opcode << 3, 0]) + b"".join(count.to_bytes(2) for count in counts) + records


@pytest.mark.parametrize(
    "data",
    [
        _message((200, 0, 0, 0), _NAME + b"\0\1\0\1" + b"\xc0\x0c\0\1\0\1" * 199),
        _message((1, 50, 0, 0), _NAME + b"\0\1\0\1" + b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4abcd" * 50),
        _message((1, 0, 50, 0), _NAME + b"\0\1\0\1" + b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4abcd" * 50),
        _message((1, 0, 0, 50), _NAME + b"\0\1\0\1" + b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4abcd" * 50),
        _message((1, 0, 0, 0), bytes(65_000)),
        _message((9, 0, 0, 0), bytes(100), opcode=4),
    ],
    ids=["questions", "answers", "authorities", "additional", "length", "other opcode"],
)
def test_messages_that_are_dear_to_read_are_not_read(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []
    with monkeypatch.context() as patched:
        patched.setattr(dns.message, "from_wire", read.append)
        told = answer(data, TWO, shuffle=lambda _: None)
        assert told is not None
        assert for_udp(told, data) == told
    assert not read
    code = dns.rcode.FORMERR if data[2] == 0 else dns.rcode.NOTIMP
    assert (dns.message.from_wire(told).rcode(), len(told), told[:2]) == (code, 12, b"ab")


@pytest.mark.usefixtures("each_loop")
@pytest.mark.parametrize("connections", [1, dns_server.MAX_CONNECTIONS])
async def test_queries_sent_ahead_take_turns(connections: int, monkeypatch: pytest.MonkeyPatch) -> None:
    meter = TurnMeter()
    monkeypatch.setattr(dns_server, "answer", meter.counting(lambda *_, **__: b"yes", lambda _: 1))
    known: Any = Known()
    known.go.set()
    server = DnsServer(known)
    where = await server.start("127.0.0.1", 0)
    many = 1_000 // connections
    streams = [await asyncio.open_connection(*where) for _ in range(connections)]
    with meter:
        for _, writer in streams:
            writer.write(b"\0\1x" * many)
        for reader, _ in streams:
            assert await reader.readexactly(5 * many) == b"\0\3yes" * many
    assert meter.total == many * connections
    assert meter.most <= 2 * connections
    for _, writer in streams:
        writer.close()
    await server.close()


@pytest.mark.usefixtures("each_loop")
async def test_who_takes_no_answers_keeps_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns_server, "TCP_TIMEOUT", 0.1)
    monkeypatch.setattr(dns_server, "answer", lambda *_, **__: bytes(60_000))
    known: Any = Known()
    known.go.set()
    server = DnsServer(known)
    where = await server.start("127.0.0.1", 0)
    with socket.socket() as asker:
        asker.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        asker.setblocking(False)
        await asyncio.get_running_loop().sock_connect(asker, where)
        await asyncio.get_running_loop().sock_sendall(asker, b"\0\1x" * 1_000)
        await until(lambda: "1 TCP" in repr(server), "the connection")
        await until(lambda: "0 TCP" in repr(server), "its end")
    await server.close()


class Known:
    """Edges that are there when they are let go."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.asked = 0

    async def get(self) -> list[EdgeAddress]:
        self.asked += 1
        await self.go.wait()
        return TWO


async def test_the_listener_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    known: Any = Known()
    monkeypatch.setattr(dns_server, "MAX_QUERIES", 3)
    monkeypatch.setattr(dns_server, "BURST", 5)
    monkeypatch.setattr(dns_server, "REFILL", 3600.0)
    monkeypatch.setattr(dns_server, "MAX_CONNECTIONS", 1)
    server = DnsServer(known)
    where = await server.start("127.0.0.1", 0)
    loop = asyncio.get_running_loop()
    query = dns.message.make_query(SRV, "SRV")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.setblocking(False)
        asker.connect(where)
        for _ in range(8):
            await loop.sock_sendall(asker, query.to_wire())
        await until(lambda: known.asked == 3, "three queries")
        known.go.set()
        for _ in range(3):
            assert dns.message.from_wire(await loop.sock_recv(asker, 4096)).answer
        # The others were dropped, and this address has two answers left.
        await until(lambda: "0 queries" in repr(server), "the end of them")
        for _ in range(4):
            await loop.sock_sendall(asker, query.to_wire())
        for _ in range(2):
            await loop.sock_recv(asker, 4096)
        assert known.asked == 5
    assert (await dns.asyncquery.tcp(query, where[0], port=where[1], timeout=10)).answer
    await until(lambda: "0 TCP" in repr(server), "the end of that connection")
    reader, writer = await asyncio.open_connection(*where)
    await until(lambda: "1 TCP" in repr(server), "a connection")
    with pytest.raises((EOFError, OSError, dns.exception.DNSException)):
        await dns.asyncquery.tcp(query, where[0], port=where[1], timeout=10)
    writer.write(b"\xff\xff")
    assert await reader.read() == b""
    writer.close()
    await server.close()
    await server.close()


async def test_a_connector_finds_every_edge_of_the_mesh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_edges, "FRESH", 0.0)
    monkeypatch.setattr(refresh, "EVERY", 0.05)

    settings = ControlPlaneSettings(data_directory=tmp_path / "data", dns_address=("127.0.0.1", 0))
    async with ControlPlane(settings) as plane, joined(_mesh(plane)) as one, joined(_mesh(plane)) as two:
        assert plane.dns_address is not None
        discovery = parse_discovery("dns://{}:{}".format(*plane.dns_address))
        wanted = {one.quic_address, two.quic_address}

        async def found() -> set[Any]:
            regions = await look_up("", ip_version="auto", discovery=discovery)
            return {address for region in regions for address in region.active()}

        async with asyncio.timeout(20):
            while await found() != wanted:
                await asyncio.sleep(0.01)
        headers = {"Authorization": f"Bearer {plane.installation.first_token}"}
        async with httpx.AsyncClient(headers=headers, trust_env=False) as client:
            path = f"{plane.api_url}/accounts/{plane.installation.account_id}/edges"
            told = (await client.get(path)).json()["result"]
        assert (told["discovery"], len(told["edges"])) == ("dns://{}:{}".format(*plane.dns_address), 2)
        token = decode_token(await _tunnel(plane))
        credentials = Credentials(account_tag=token.account_tag, tunnel_id=token.tunnel_id, secret=token.secret)
        config = replace(config_for(one, [{"service": "hello_world"}], connections=2), credentials=credentials)
        config = replace(config, edge=replace(config.edge, addresses=(), discovery=discovery))
        async with Connector(config) as connector:
            await until(lambda: registered(one) == registered(two) == 1, "a connection to each edge")
            # One that stops is no longer named, and both connections are at the other.
            await two.stop()
            await until(lambda: registered(one) == 2, "both at the edge that is left")
            await connector.stop()
        # The database goes, and what was known stays.
        monkeypatch.setattr(plane.database, "read", _away)
        assert await found() == {one.quic_address}


def _mesh(plane: ControlPlane) -> Mesh:
    return Mesh(plane, None, "")  # type: ignore[arg-type]  # edges need no client


async def _tunnel(plane: ControlPlane) -> str:
    from pyconnector.control.api.routes.tunnel_form import token_of
    from pyconnector.control.store.objects import tunnels
    from pyconnector.control.store.work import Actor, Work

    async def operation(work: Work) -> str:
        made = await tunnels.create(work, name="t", secret=None, config_src="local")
        await work.session.flush()
        return token_of(made)

    return await plane.database.write(Actor(account_id=plane.installation.account_id), operation)


def _away() -> Any:
    from pyconnector.control.store.errors import StoreUnavailable

    raise StoreUnavailable("The database is away.")


async def test_a_name_that_is_taken_stops_the_start(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = ControlPlaneSettings(data_directory=tmp_path / "d", dns_address=taken.getsockname())
        with pytest.raises(ValueError, match="--dns"):
            await ControlPlane(settings).start()


@pytest.mark.parametrize(
    ("discovery", "written"),
    [("dns://control.test:5353", 'edge-discovery: "dns://control.test:5353"'), ("", 'edge: ["a.test:1"]'),
     ("dns://:x", 'edge: ["a.test:1"]'), (None, 'edge: ["a.test:1"]')],
)  # fmt: skip
def test_a_config_follows_the_edges_where_dns_is_served(
    tmp_path: Path, discovery: str | None, written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Client:
        is_provider = False

        def account(self, path: str) -> str:
            return path

        def call(self, *_: object) -> object:
            return {"edges": ["a.test:1"], "authority": "PEM", "discovery": discovery}

    monkeypatch.setattr(names, "route_dns", lambda *_, **__: None)
    credentials = tmp_path / "t.json"
    rules = ready_config.rules_for("app.example.com", "http_status:201")
    ready_config.finish(Client(), "t", credentials, rules)  # type: ignore[arg-type]
    lines = credentials.with_suffix(".yml").read_text().splitlines()
    assert written in lines
    assert sum(line.startswith("edge") for line in lines) == 1
