from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus

import pytest

from pyconnector.connector.api.errors import StartFailed
from pyconnector.connector.observe.server import metrics_server
from pyconnector.connector.observe.server.metrics_server import (
    TEXT_TYPE,
    Answer,
    MetricsServer,
    json_answer,
    split_listen_address,
)


def pages() -> dict[str, Callable[[], Answer]]:
    return {
        "/ready": lambda: json_answer({"status": 503}, HTTPStatus.SERVICE_UNAVAILABLE),
        "/healthcheck": lambda: (HTTPStatus.OK, TEXT_TYPE, b"OK\n"),
    }


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[MetricsServer]:
    server = MetricsServer(pages())
    await server.start("127.0.0.1:0")
    try:
        async with asyncio.timeout(30):
            yield server
    finally:
        await server.close()


async def closed(reader: asyncio.StreamReader) -> bool:
    try:
        return await reader.read() == b""
    except ConnectionError:
        return True


async def ask(server: MetricsServer, request: bytes) -> tuple[bytes, bytes]:
    reader, writer = await asyncio.open_connection(*server.address)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body


async def test_pages_are_served_with_their_status() -> None:
    async with running() as server:
        head, body = await ask(server, b"GET /ready?x=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 Service Unavailable")
        assert json.loads(body) == {"status": 503}
        head, body = await ask(server, b"GET /healthcheck HTTP/1.0\r\n\r\n")
        assert (head.split(b"\r\n")[0], body) == (b"HTTP/1.1 200 OK", b"OK\n")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        (b"127.0.0.1:20241", 200), (b"[::1]:20241", 200), (b"localhost", 200), (b"LOCALHOST:1", 200), (b"nas:9", 200),
        (b"10.0.0.7", 200), (b"pod.tunnel.svc:1", 200), (b"connector.svc.cluster.local", 200), (b"a.localhost:1", 200),
        (b"rebound.example:20241", 403), (b"127.0.0.1.evil.example", 403), (b"localhost.evil.example:1", 403),
        (b"127.0.0.1\r\nHost: rebound.example", 403), (b"[::1].evil.example", 403), (b"rebound.example.", 403),
    ],
)  # fmt: skip
async def test_a_name_that_anybody_may_own_is_refused(host: bytes, status: int) -> None:
    async with running() as server:
        head, _ = await ask(server, b"GET /healthcheck HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
        assert int(head.split()[1]) == status


async def test_machines_that_watch_this_one_may_have_names_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Away from loopback only the page that shows the rules asks how it was reached."""

    async with running() as server:
        server._is_loopback = False
        for path, status in ((b"/healthcheck", 200), (b"/config", 403)):
            head, _ = await ask(server, b"GET " + path + b" HTTP/1.1\r\nHost: box.example.com\r\n\r\n")
            assert int(head.split()[1]) == status


async def test_head_has_no_body_and_other_paths_are_404() -> None:
    async with running() as server:
        head, body = await ask(server, b"HEAD /healthcheck HTTP/1.1\r\n\r\n")
        assert b"Content-Length: 3" in head
        assert body == b""
        assert (await ask(server, b"GET /nope HTTP/1.1\r\n\r\n"))[0].startswith(b"HTTP/1.1 404")
        head, body = await ask(server, b"GET /debug/pprof/heap HTTP/1.1\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 404")
        assert b"/diag/tasks" in body, "what there is instead of the profiles of the reference"


async def test_garbage_and_endless_heads_get_an_answer() -> None:
    async with running() as server:
        assert (await ask(server, b"garbage\r\n\r\n"))[0].startswith(b"HTTP/1.1 400")
        flood = b"GET / HTTP/1.1\r\nX: " + b"x" * 2 * metrics_server.MAX_HEAD_BYTES + b"\r\n\r\n"
        assert (await ask(server, flood))[0].startswith(b"HTTP/1.1 431")


async def test_clients_beyond_the_bound_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "MAX_CLIENTS", 1)

    async with running() as server:
        _, first = await asyncio.open_connection(*server.address)
        await asyncio.sleep(0.05)
        reader, second = await asyncio.open_connection(*server.address)
        assert await closed(reader)
        for writer in (first, second):
            writer.close()
        await asyncio.gather(first.wait_closed(), second.wait_closed(), return_exceptions=True)


async def test_a_silent_client_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "TIMEOUT", 0.05)

    async with running() as server:
        reader, writer = await asyncio.open_connection(*server.address)
        assert await closed(reader)
        writer.close()


async def test_an_address_in_use_is_one_sentence() -> None:
    async with running() as server:
        other = MetricsServer({})
        with pytest.raises(StartFailed, match=r"cannot serve metrics on 127[0-9.:]+: address already in use$"):
            await other.start(f"127.0.0.1:{server.address[1]}")
        with pytest.raises(StartFailed, match="cannot serve metrics: "):
            await other.start("127.0.0.1:x")
        await other.close()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("[::1]:80", ("::1", 80)),
        (":81", ("0.0.0.0", 81)),
        ("localhost:0", ("127.0.0.1", 0)),
    ],
)
def test_listen_addresses(text: str, expected: tuple[str, int]) -> None:
    assert split_listen_address(text) == expected
