"""A streaming HTTP client (httpx) through edge, QUIC and connector: nothing is held back in either direction.

No clock decides: each piece must arrive before the next one is sent.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.support.houses.house import House, open_house
from tests.support.peers.raw_origin import Peer, answering, raw_origin

PIECES = 50
LARGE = 8 * 1024 * 1024


def rules(port: int) -> list[dict[str, str]]:
    return [{"hostname": "app.test", "service": f"http://127.0.0.1:{port}"}, {"service": "http_status:404"}]


def client_of(house: House) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=house.url, headers={"Host": "app.test"}, timeout=20, trust_env=False, limits=httpx.Limits()
    )


async def chunk(peer: Peer) -> bytes:
    """Read one chunk of a request's body; b"" for the last."""
    size = int(await peer.reader.readuntil(b"\r\n"), 16)
    data = await peer.reader.readexactly(size + 2)
    return data[:-2]


async def test_server_sent_events_arrive_one_by_one(engine: str) -> None:
    arrived = asyncio.Semaphore(0)
    delays: list[float] = []
    clock = asyncio.get_running_loop().time
    sent_at = 0.0

    async def events(peer: Peer) -> None:
        nonlocal sent_at
        await peer.head()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        await peer.send(head)
        for number in range(PIECES):
            data = b"data: %d\n\n" % number
            sent_at = clock()
            await peer.send(b"%x\r\n%b\r\n" % (len(data), data))
            await arrived.acquire()  # the next tick only after the visitor has this one
            await asyncio.sleep(0.01)
        await peer.send(b"0\r\n\r\n")

    async with raw_origin(events) as origin, open_house(rules(origin.port), engine=engine) as house:
        async with client_of(house) as client, client.stream("GET", "/events") as response:
            assert response.headers["content-type"] == "text/event-stream"
            got = []
            async for data in response.aiter_raw():
                delays.append(clock() - sent_at)
                got.append(data)
                arrived.release()
    assert got == [b"data: %d\n\n" % number for number in range(PIECES)]
    slowest = sorted(delays)[-max(PIECES // 100, 1)]
    print(f"added to {PIECES} ticks: median {sorted(delays)[PIECES // 2] * 1000:.2f} ms, p99 {slowest * 1000:.2f} ms")


async def test_a_response_without_length_flows_until_the_origin_closes() -> None:
    arrived = asyncio.Semaphore(0)

    async def slow(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        for number in range(5):
            await peer.send(b"%d" % number)
            await arrived.acquire()

    async with raw_origin(slow) as origin, open_house(rules(origin.port)) as house:
        async with client_of(house) as client, client.stream("GET", "/") as response:
            got = []
            async for data in response.aiter_raw():
                got.append(data)
                arrived.release()
        assert got == [b"0", b"1", b"2", b"3", b"4"]


@pytest.mark.parametrize("framing", ["chunked", "length"])
async def test_an_upload_arrives_piece_by_piece_and_is_answered_while_it_lasts(engine: str, framing: str) -> None:
    seen = asyncio.Semaphore(0)
    piece = b"p" * 1000

    async def upload() -> AsyncIterator[bytes]:
        for _ in range(PIECES):
            yield piece
            await seen.acquire()  # the origin has it before the next is sent

    async def echo(peer: Peer) -> None:
        head = (await peer.head()).lower()
        assert (b"transfer-encoding: chunked\r\n" in head) == (framing == "chunked")
        assert (b"content-length: %d\r\n" % (PIECES * len(piece)) in head) == (framing == "length")
        for _ in range(PIECES):
            data = await (chunk(peer) if framing == "chunked" else peer.exactly(len(piece)))
            assert data == piece
            seen.release()
        if framing == "chunked":
            assert await chunk(peer) == b""
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")

    async with raw_origin(echo) as origin, open_house(rules(origin.port), engine=engine) as house:
        async with client_of(house) as client:
            headers = {"Content-Length": str(PIECES * len(piece))} if framing == "length" else {}
            response = await client.post("/", content=upload(), headers=headers)
            assert response.text == "done"


async def test_both_directions_of_one_exchange_flow_at_once(engine: str) -> None:
    """The origin answers each chunk with a chunk; the visitor sends the next one only then."""

    async def mirror(peer: Peer) -> None:
        await peer.head()
        data = await chunk(peer)
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while data:
            await peer.send(b"%x\r\n%b\r\n" % (len(data), data.upper()))
            data = await chunk(peer)
        await peer.send(b"0\r\n\r\n")

    async with raw_origin(mirror) as origin, open_house(rules(origin.port), engine=engine) as house:
        # httpx sends all before it reads: the two directions are written by hand here.
        reader, writer = await asyncio.open_connection(*house.edge.visitor_address)
        writer.write(b"POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(PIECES):
            data = b"ping %d" % number
            writer.write(b"%x\r\n%b\r\n" % (len(data), data))
            if not number:
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
            size = int(await reader.readuntil(b"\r\n"), 16)
            assert (await reader.readexactly(size + 2))[:-2] == b"PING %d" % number
        writer.write(b"0\r\n\r\n")
        assert await reader.readexactly(5) == b"0\r\n\r\n"
        writer.close()
        await writer.wait_closed()


async def test_megabytes_both_ways_come_whole(engine: str) -> None:
    data = os.urandom(LARGE)

    async def origin_script(peer: Peer) -> None:
        head = await peer.head()
        if head.startswith(b"POST"):
            digest = hashlib.sha256()
            while piece := await chunk(peer):
                digest.update(piece)
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n" + digest.hexdigest().encode())
            head = await peer.head()
        assert head.startswith(b"GET")
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for start in range(0, LARGE, 100_000):
            piece = data[start : start + 100_000]
            peer.writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await peer.writer.drain()
        await peer.send(b"0\r\n\r\n")

    async def upload() -> AsyncIterator[bytes]:
        for start in range(0, LARGE, 65_536):
            yield data[start : start + 65_536]

    async with raw_origin(origin_script) as origin, open_house(rules(origin.port), engine=engine) as house:
        async with client_of(house) as client:
            response = await client.post("/", content=upload())
            assert response.text == hashlib.sha256(data).hexdigest()
            got = bytearray()
            async with client.stream("GET", "/") as streamed:
                async for piece in streamed.aiter_raw():
                    got += piece
            assert got == data


async def test_a_visitor_who_reads_slowly_slows_the_origin_and_no_one_else(engine: str) -> None:
    written = 0
    asked = 256 * 1024 * 1024

    async def endless(peer: Peer) -> None:
        nonlocal written
        await peer.head()
        peer.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % asked)
        peer.writer.transport.set_write_buffer_limits(high=65_536)
        try:
            while written < asked:
                peer.writer.write(b"x" * 65_536)
                await peer.writer.drain()
                written += 65_536
        except ConnectionError:
            pass

    small = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    async with raw_origin(endless) as origin, raw_origin(small) as other:
        more = [{"hostname": "other.test", "service": f"http://127.0.0.1:{other.port}"}, *rules(origin.port)]
        async with open_house(more, engine=engine) as house, client_of(house) as client:
            async with client.stream("GET", "/") as response:
                await anext(response.aiter_raw(1000))
                last = -1
                while written != last:  # until nothing flows any more
                    last = written
                    for _ in range(20):
                        answer = await client.get("/", headers={"Host": "other.test"})
                        assert answer.text == "ok"
                assert written < 64 * 1024 * 1024
                print(f"a stalled visitor let the origin write {written / 2**20:.1f} MiB")
