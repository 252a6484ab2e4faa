"""Origins that refuse, lie, break off or say nothing: the visitor learns it, the log has one sentence, and an exchange
that is under way on the same connection goes on."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from tests.support.houses.house import House, open_house
from tests.support.loop.leaks import nothing_left
from tests.support.peers.raw_origin import Peer, Script, answering, raw_origin
from tests.support.peers.raw_visitor import RawVisitor, get

BAD = get("/", "bad.test")


@asynccontextmanager
async def house_over(
    script: Script, engine: str = "aioquic", service: str = ""
) -> AsyncIterator[tuple[House, Callable[[bytes], Awaitable[None]]]]:
    """A house with `script` at bad.test, and a visitor of another origin whose response lasts for as long as this.

    What is yielded with it sends a word to that visitor and sees it arrive.
    """
    words = asyncio.Queue[bytes]()

    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while word := await words.get():
            await peer.send(b"%x\r\n%b\r\n" % (len(word), word))
        await peer.send(b"0\r\n\r\n")

    async with raw_origin(script) as origin, raw_origin(talk) as other:
        rules = [
            {"hostname": "bad.test", "service": service or f"http://127.0.0.1:{origin.port}"},
            {"service": f"http://127.0.0.1:{other.port}"},
        ]
        async with open_house(rules, engine=engine) as house, RawVisitor(house.edge.visitor_address) as talking:
            talking.send(get("/", "talk.test"))
            assert (await talking.head()).status == 200

            async def say(word: bytes) -> None:
                words.put_nowait(word)
                assert await talking.chunk() == word

            yield house, say
            await say(b"still here")
            await say(b"")
            # No reconnection: both exchanges went over the one connection there ever was.
            assert house.connector.counters.registrations == 1


def sentences(caplog: pytest.LogCaptureFixture) -> list[str]:
    troubles = [record for record in caplog.records if record.levelno >= logging.WARNING and record.name != "asyncio"]
    assert all(record.exc_info is None for record in troubles)
    return [record.getMessage() for record in troubles]


def http(head: bytes, body: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + body


GARBAGE = {
    "an ssh server": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a TLS server": b"\x15\x03\x01\x00\x02\x02\x46",
    "zeros": bytes(1000),
    "an empty line first": b"\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + bytes(18),
    "a status that is none": b"HTTP/1.1 20 OK\r\n\r\n",
    "a header without a colon": http(b"Nonsense\r\n"),
    "a NUL in a header": http(b"X: a\x00b\r\nContent-Length: 0\r\n"),
    "a bare CR in a header": http(b"X: a\rSet-Cookie: b\r\nContent-Length: 0\r\n"),
    "a space before the colon": http(b"Content-Length : 0\r\n"),
    "a folded header": http(b"X: a\r\n b\r\nContent-Length: 0\r\n"),
    "two lengths": http(b"Content-Length: 1\r\nContent-Length: 2\r\n", b"ab"),
    "length and chunked": http(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    "a length that is none": http(b"Content-Length: -1\r\n"),
    "an unknown coding": http(b"Transfer-Encoding: gzip\r\n"),
    "a header of 100 KiB": http(b"X: " + b"x" * 100_000 + b"\r\nContent-Length: 0\r\n"),
    "headers of 400 KiB": http(b"".join(b"X-%d: %b\r\n" % (n, b"x" * 1000) for n in range(400))),
    "101 that nobody asked for": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "endless interim responses": b"HTTP/1.1 102 Processing\r\n\r\n" * 1000,
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "nothing": b"",
}


@pytest.mark.parametrize("what", GARBAGE)
async def test_what_is_no_response_is_a_502_and_a_sentence(what: str, caplog: pytest.LogCaptureFixture) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        peer.writer.write(GARBAGE[what])

    async with house_over(script) as (house, _), nothing_left():
        async with RawVisitor(house.edge.visitor_address) as visitor:
            answer = await visitor.request(BAD)
            assert answer.status == 502
            (sentence,) = sentences(caplog)
            assert sentence.replace("'", "&#x27;").replace('"', "&quot;").encode() in answer.body
            print(sentence)


async def test_a_port_where_nobody_listens(engine: str, caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        async with house_over(answering(b""), engine, f"http://127.0.0.1:{port}") as (house, _), nothing_left():
            async with RawVisitor(house.edge.visitor_address) as visitor:
                for path in ("/1", "/2"):
                    answer = await visitor.request(get(path, "bad.test"))
                    assert answer.status == 502
                    if engine == "http2":  # which has no place for a reason
                        assert b"could not reach the service" in answer.body
                        continue
                    assert f"127.0.0.1:{port} refused the connection".encode() in answer.body
                    assert answer.body.count(b"Unable to reach the origin service") == 1
    assert len(sentences(caplog)) == 2


@pytest.mark.parametrize("service", ["http://does-not-exist.invalid:80", "unix:/does/not/exist.sock"])
async def test_a_service_that_does_not_exist(service: str, caplog: pytest.LogCaptureFixture) -> None:
    async with house_over(answering(b""), "aioquic", service) as (house, _), nothing_left():
        async with RawVisitor(house.edge.visitor_address) as visitor:
            assert (await visitor.request(BAD)).status == 502
    assert len(sentences(caplog)) == 1


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_origin_that_resets_before_its_answer(method: str, caplog: pytest.LogCaptureFixture) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        peer.reset()

    async with house_over(script) as (house, _), nothing_left():
        async with RawVisitor(house.edge.visitor_address) as visitor:
            request = f"{method} / HTTP/1.1\r\nHost: bad.test\r\nContent-Length: 3\r\n\r\nabc".encode()
            assert (await visitor.request(request)).status == 502
    (sentence,) = sentences(caplog)
    assert "broke the connection off" in sentence


BREAKS = {
    "a length": http(b"Content-Length: 1000\r\n", b"x" * 100),
    "chunks": http(b"Transfer-Encoding: chunked\r\n", b"64\r\n" + b"x" * 100 + b"\r\n"),
    "half a chunk": http(b"Transfer-Encoding: chunked\r\n", b"ff\r\n" + b"x" * 100),
    "garbage in place of a chunk": http(b"Transfer-Encoding: chunked\r\n", b"64\r\n" + b"x" * 100 + b"\r\nzzz\r\n"),
}


@pytest.mark.parametrize("what", BREAKS)
@pytest.mark.parametrize("manner", ["close", "reset"])
async def test_an_origin_that_breaks_off_in_mid_body(
    what: str, manner: str, engine: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The visitor sees that it is not whole: fewer bytes than announced, or no last chunk."""

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(BREAKS[what])
        if manner == "reset":
            peer.reset()

    async with house_over(script, engine) as (house, _), nothing_left():
        async with RawVisitor(house.edge.visitor_address) as visitor:
            visitor.send(BAD)
            received = await whatever_comes(visitor)
            head, _, body = received.partition(b"\r\n\r\n")
            if head.startswith(b"HTTP/1.1 200 OK"):
                assert len(body) < 1000
                assert not body.endswith(b"\r\n0\r\n\r\n")
            else:  # it broke off before the head had left: then the visitor can be told
                assert head.startswith(b"HTTP/1.1 502 ")
    assert len(sentences(caplog)) == 1


async def whatever_comes(visitor: RawVisitor) -> bytes:
    received = b""
    try:
        while data := await visitor.reader.read(65_536):
            received += data
            if received.startswith(b"HTTP/1.1 502"):
                break  # this connection is kept
    except ConnectionResetError:
        pass
    return received


async def test_a_body_without_length_that_is_reset_is_not_taken_for_whole(caplog: pytest.LogCaptureFixture) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(http(b"Connection: close\r\n", b"x" * 100))
        await arrived.wait()
        peer.reset()

    arrived = asyncio.Event()

    async with house_over(script) as (house, _), nothing_left():
        async with RawVisitor(house.edge.visitor_address) as visitor:
            visitor.send(BAD)
            head = await visitor.head()
            chunked = head.field("Transfer-Encoding") == "chunked"
            assert (await visitor.chunk() if chunked else await visitor.reader.readexactly(100)) == b"x" * 100
            arrived.set()
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await visitor.chunk() if chunked else await visitor.reader.read()
    assert len(sentences(caplog)) == 1


async def test_an_origin_that_says_nothing_keeps_only_its_own_visitor_waiting(
    engine: str, caplog: pytest.LogCaptureFixture
) -> None:
    reached = asyncio.Event()
    left = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        reached.set()
        await peer.closed()
        left.set()

    async with house_over(script, engine) as (house, say), nothing_left():
        async with RawVisitor(house.edge.visitor_address) as visitor:
            visitor.send(BAD)
            await reached.wait()
            await say(b"meanwhile")
            visitor.abort()
            await left.wait()
    assert sentences(caplog) == []


async def test_an_origin_that_does_not_take_the_connection_is_given_up_after_connect_timeout(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]  # the backlog: connections that nobody accepts
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        rules = [{"service": f"http://127.0.0.1:{port}", "originRequest": {"connectTimeout": "300ms"}}]
        async with open_house(rules) as house, nothing_left():
            async with RawVisitor(house.edge.visitor_address) as visitor:
                assert (await visitor.request(get())).status == 502
        for filler in fillers:
            filler.close()
    (sentence,) = sentences(caplog)
    assert "0.3 s" in sentence
