"""What a raw socket at the origin receives for what a raw socket at the edge sends, byte for byte, and back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from pyconnector.edge import EdgeSettings, VisitorSettings
from tests.support.houses.house import House, open_house, tunnel
from tests.support.peers.raw_origin import Peer, Script, answering, raw_origin
from tests.support.peers.raw_visitor import RawVisitor, get

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
#: Without the headers that say who visits, what comes out is what went in.
PLAIN = EdgeSettings(tunnels=(tunnel(),), visitors=VisitorSettings(identity=False))

TARGETS = [
    "/",
    "/?",
    "/a/../b/./c//d",
    "/a%20b%2Fc%2e%2E/%zz",
    "/%C3%BC?q=%FF%00&&=x?y",
    "/;p=1/a:b@c!$&'()*+,",
    "/" + "x" * 8000,
    '/"<>\\^`{|}',
]
HEADERS = [
    ("X-Twice", "1"),
    ("X-Between", "  inner  spaces\tand tab  ".strip()),
    ("X-Twice", "2"),
    ("x-LOWER-upper", "kept value"),
    ("X-Empty", ""),
    ("X-Bytes", "\xfc\xff\x80"),
    ("Cookie", "a=1; b=2"),
    ("Cookie", "c=3"),
    ("Accept-Encoding", "br;q=1.0, gzip"),
    ("User-Agent", "raw/1"),
    ("Authorization", "Basic " + "x" * 6000),
]


@asynccontextmanager
async def house_over(script: Script, engine: str = "aioquic") -> AsyncIterator[tuple[House, list[Peer]]]:
    async with raw_origin(script) as origin:
        rules = [{"service": f"http://127.0.0.1:{origin.port}"}]
        async with open_house(rules, engine=engine, settings=PLAIN) as house:
            yield house, origin.peers


async def test_targets_and_header_values_reach_the_origin_unchanged(engine: str) -> None:
    expected = HEADERS
    if engine == "http2":  # which joins what may have been parted on the way (RFC 9113 8.2.3)
        at = HEADERS.index(("Cookie", "a=1; b=2"))
        expected = [*HEADERS[:at], ("Cookie", "a=1; b=2; c=3"), *HEADERS[at + 2 :]]

    heads: list[bytes] = []

    async def script(peer: Peer) -> None:
        try:
            while True:
                heads.append(await peer.head())
                peer.writer.write(OK)
        except asyncio.IncompleteReadError:
            pass

    async with house_over(script, engine) as (house, _), RawVisitor(house.edge.visitor_address) as visitor:
        for target in TARGETS:
            lines = [f"GET {target} HTTP/1.1", "Host: App.Test:8080"] + [f"{n}: {v}" for n, v in HEADERS]
            visitor.send("\r\n".join([*lines, "", ""]).encode("latin-1"))
            assert (await visitor.response()).status == 200
            head = heads.pop().decode("latin-1")
            request_line, *received = head.split("\r\n")[:-2]
            assert request_line == f"GET {target} HTTP/1.1"
            assert "Host: app.test:8080" in received  # the edge spells a host in one way
            fields = [tuple(line.split(": ", 1)) for line in received]
            for name, value in expected:
                there = [v for n, v in fields if n.lower() == name.lower()]
                assert there == [v for n, v in expected if n.lower() == name.lower()], name
                assert value in there
            added = {n.lower() for n, _ in fields} - {n.lower() for n, _ in expected}
            assert added == {"host", "connection", "cf-warp-tag-id"}
            # The order among those that were sent is the order that they were sent in (User-Agent goes first).
            names = [n.lower() for n, _ in fields if n.lower() in {name.lower() for name, _ in expected}]
            assert names[1:] == [n.lower() for n, _ in expected if n != "User-Agent"]


async def test_response_values_and_duplicates_reach_the_visitor_unchanged(engine: str) -> None:
    fields = [
        (b"Set-Cookie", b"a=1; Path=/"),
        (b"Set-Cookie", b"b=2; Path=/"),
        (b"X-Bytes", b"\xfc\xff\x80"),
        (b"X-Empty", b""),
        (b"WWW-Authenticate", b'Basic realm="x, y"'),
        (b"X-Spaces", b"a  b\tc"),
        (b"Content-Encoding", b"gzip"),
        (b"X-Long", b"y" * 20_000),
    ]
    body = bytes(range(256))
    head = b"".join(b"%b: %b\r\n" % field for field in fields)
    response = b"HTTP/1.1 418 Short And Stout\r\n%bContent-Length: 256\r\n\r\n%b" % (head, body)

    async with house_over(answering(response), engine) as (house, _), RawVisitor(house.edge.visitor_address) as who:
        answer = await who.request(get())
        assert (answer.status, answer.body) == (418, body)
        for name, _ in fields:
            sent = [value for other, value in fields if other == name]
            got = [v.encode("latin-1") for n, v in answer.fields if n.lower() == name.decode().lower()]
            assert got == sent, name


@pytest.mark.parametrize(
    ("response", "status"),
    [
        (b"HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n", 204),
        (b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\nContent-Length: 1000\r\nX-A: 1\r\n\r\n', 304),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-A: 1\r\n\r\n", 200),
        (b"HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\nX-A: 1\r\n\r\n0\r\n\r\n", 500),
    ],
)
async def test_responses_without_a_body_end_at_once_and_keep_the_visitors_connection(
    response: bytes, status: int
) -> None:
    async with house_over(answering(response)) as (house, peers), RawVisitor(house.edge.visitor_address) as visitor:
        for _ in range(3):
            answer = await visitor.request(get())
            assert (answer.status, answer.body, answer.field("X-A")) == (status, b"", "1")
        # Where content was announced it may still follow (docs/parity.md).
        assert len(peers) == (3 if b"Content-Length: 1000" in response else 1)


async def test_head_keeps_the_length_and_has_no_body(engine: str) -> None:
    response = b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\nContent-Type: text/x\r\n\r\n"

    async with house_over(answering(response), engine) as (house, peers):
        async with RawVisitor(house.edge.visitor_address) as visitor:
            for _ in range(2):
                answer = await visitor.request(get().replace(b"GET", b"HEAD"), head_only=True)
                assert (answer.field("Content-Length"), answer.field("Content-Type")) == ("12345", "text/x")
        assert len(peers) == 2, "content may still follow what announced it (docs/parity.md)"


async def test_interim_responses_are_for_the_connector_alone() -> None:
    response = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + OK

    async with house_over(answering(response)) as (house, peers), RawVisitor(house.edge.visitor_address) as visitor:
        for _ in range(2):
            answer = await visitor.request(get())
            assert (answer.status, answer.body) == (200, b"ok")
            assert answer.field("Link") is None
        assert len(peers) == 1


async def test_an_early_response_reaches_a_visitor_who_is_still_sending(engine: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno!")
        await peer.closed_after_rest()

    async with house_over(script, engine) as (house, _), RawVisitor(house.edge.visitor_address) as visitor:
        visitor.send(b"POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 100000000\r\n\r\n" + b"x" * 1000)
        answer = await visitor.response()
        assert (answer.status, answer.body) == (413, b"no!")
        async with RawVisitor(house.edge.visitor_address) as other:
            assert (await other.request(get())).status == 413


async def test_a_visitor_who_expects_100_gets_it_from_the_edge_and_the_body_arrives() -> None:
    async def script(peer: Peer) -> None:
        head = await peer.head()
        assert b"expect" not in head.lower()  # answered by then: passing it on would only cost a round trip
        assert await peer.exactly(5) == b"hello"
        await peer.send(OK)
        await peer.closed()

    async with house_over(script) as (house, _), RawVisitor(house.edge.visitor_address) as visitor:
        visitor.send(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert (await visitor.head()).status == 100
        visitor.send(b"hello")
        assert (await visitor.response()).status == 200


async def test_bodies_keep_their_framing() -> None:
    heads: list[bytes] = []

    async def script(peer: Peer) -> None:
        while True:
            try:
                heads.append(await peer.head())
            except asyncio.IncompleteReadError:
                return
            if b"Transfer-Encoding: chunked\r\n" in heads[-1]:
                assert await peer.reader.readuntil(b"0\r\n\r\n")
            elif b"Content-Length: 3\r\n" in heads[-1]:
                assert await peer.exactly(3) == b"abc"
            peer.writer.write(OK)

    async with house_over(script) as (house, peers), RawVisitor(house.edge.visitor_address) as visitor:
        for body in (
            b"Content-Length: 3\r\n\r\nabc",
            b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"Content-Length: 0\r\n\r\n",
            b"\r\n",
        ):
            assert (await visitor.request(b"PUT /x HTTP/1.1\r\nHost: a.test\r\n" + body)).status == 200
        assert (await visitor.request(get())).status == 200
        framing = [
            [line for line in head.split(b"\r\n") if line.lower().startswith((b"content-le", b"transfer-e"))]
            for head in heads
        ]
        assert framing == [
            [b"Content-Length: 3"],
            [b"Transfer-Encoding: chunked"],
            [b"Transfer-Encoding: chunked"],
            [b"Content-Length: 0"],
            [b"Content-Length: 0"],
            [],
        ]
        assert len(peers) == 1


async def test_a_stale_pooled_connection_costs_an_idempotent_request_nothing() -> None:
    async def once(peer: Peer) -> None:
        await peer.head()
        await peer.send(OK)  # and then it closes what looked like a connection to keep

    async with house_over(once) as (house, peers), RawVisitor(house.edge.visitor_address) as visitor:
        for number in range(20):
            assert (await visitor.request(get(f"/{number}"))).body == b"ok"
        assert len(peers) == 20


async def test_a_request_head_is_carried_whole_or_refused_with_431() -> None:
    async with house_over(answering(OK)) as (house, peers):
        for size, status in ((60_000, 200), (100_000, 431), (1_000_000, 431)):
            async with RawVisitor(house.edge.visitor_address) as visitor:
                assert (await visitor.request(get("/", "app.test", "X-Big: " + "x" * size))).status == status
        assert len(peers) == 1
