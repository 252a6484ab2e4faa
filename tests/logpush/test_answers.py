"""Whatever an HTTP server answers that an edge asks (a provider of logins, a receiver of records): others go on."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from pyconnector.edge.access.login import provider_client
from pyconnector.edge.access.login.provider_client import ProviderClient, ProviderUnavailable
from pyconnector.logpush.destinations import HttpDestination
from pyconnector.logpush.senders import http, slices
from pyconnector.logpush.senders.base import Batch, SendFailed
from tests.support.loop.turns import TurnMeter

OK = b"HTTP/1.1 200 OK\r\n"
FLOODS = {
    "interim responses": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "chunks of a byte": (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "fields": (OK, b"a:\r\n"),
}


@contextlib.asynccontextmanager
async def server(head: bytes, unit: bytes, *, pause: float = 0.0) -> AsyncIterator[str]:
    """Answers everything with `head` and then `unit` without end, with a pause after each where one is asked for."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(head)
            while not reader.at_eof():
                writer.write(unit if pause else unit * (16_384 // len(unit)))
                await asyncio.sleep(pause)
                await writer.drain()
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/x"
    finally:
        listener.close()
        await listener.wait_closed()


@contextlib.asynccontextmanager
async def provider() -> AsyncIterator[ProviderClient]:
    client = ProviderClient(time.monotonic, time.time)
    try:
        yield client
    finally:
        await client.close()


@contextlib.asynccontextmanager
async def receiver(url: str) -> AsyncIterator[http.HttpSender]:
    sender = http.HttpSender(HttpDestination(url=url, shown="a receiver"))
    try:
        yield sender
    finally:
        await sender.close()


@pytest.fixture
def meter(monkeypatch: pytest.MonkeyPatch) -> TurnMeter:
    """Counts what is handed to h11."""
    import h11

    made = TurnMeter()
    whole = h11.Connection.receive_data

    def receive_data(connection: h11.Connection, data: bytes) -> None:
        made.add(len(data))
        whole(connection, data)

    monkeypatch.setattr(h11.Connection, "receive_data", receive_data)
    return made


@pytest.mark.usefixtures("each_loop")
@pytest.mark.parametrize("connections", [1, 20])
@pytest.mark.parametrize("kind", FLOODS)
async def test_answers_of_a_provider_are_read_in_slices(
    kind: str, connections: int, meter: TurnMeter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider_client, "MAX_ANSWER", 500)
    monkeypatch.setattr(provider_client, "TIMEOUT", 0.2)
    async with server(*FLOODS[kind]) as url, provider() as client:
        with meter:
            asked = [client._ask("GET", url) for _ in range(connections)]
            found = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(each) for each in found} == {ProviderUnavailable}
    assert meter.total > 2 * slices.SLICE
    assert meter.most <= 2 * slices.SLICE


@pytest.mark.usefixtures("each_loop")
@pytest.mark.parametrize("kind", ["interim responses", "fields"])
async def test_answers_of_a_receiver_are_read_in_slices(
    kind: str, meter: TurnMeter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "WHOLE_TIMEOUT", 0.2)
    async with server(*FLOODS[kind]) as url, receiver(url) as sender:
        with meter, pytest.raises(SendFailed):
            await sender.send(Batch(id="1", body=b"x\n", count=1, begun="", ended=""))
    assert meter.total > 2 * slices.SLICE
    assert meter.most <= slices.SLICE


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 O", OK + b"Content-Length: 1000\r\n\r\n"])
async def test_an_answer_that_drips_is_given_up(head: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider_client, "TIMEOUT", 0.1)
    monkeypatch.setattr(http, "WHOLE_TIMEOUT", 0.1)
    async with server(head, b"x", pause=0.02) as url:
        async with provider() as client:
            with pytest.raises(ProviderUnavailable, match=r"did not answer within 0\.1 s"):
                await client._ask("GET", url)
        if head.startswith(OK):
            return  # what follows the head counts for nothing there
        async with receiver(url) as sender:
            with pytest.raises(SendFailed, match=r"did not take a batch within 0\.1 s"):
                await sender.send(Batch(id="1", body=b"x\n", count=1, begun="", ended=""))


async def test_an_encoded_answer_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = gzip.compress(bytes(1_000_000))
    head = OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(bomb), bomb)
    decoded: list[Any] = []
    monkeypatch.setattr(httpx.Response, "aiter_bytes", decoded.append)
    async with server(head, b"x", pause=0.02) as url, provider() as client:
        with pytest.raises(ProviderUnavailable, match="encoded"):
            await client._ask("GET", url)
    assert not decoded
