"""The built-in services: hello_world and http_status."""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import re
import time
from typing import TYPE_CHECKING

import pytest

from pyconnector.origins.base import OriginError, OriginResponse, RequestKind
from pyconnector.origins.builtin import hello
from pyconnector.origins.builtin.hello import HelloOrigin
from pyconnector.origins.builtin.status import StatusOrigin
from pyconnector.origins.net.inbox import INBOX_HIGH_WATER, Inbox
from pyconnector.web.websocket import frames
from tests.origins.support import get, read_all, until
from tests.support.peers.frames import Frame, masked, read_frames
from tests.support.wire.bodies import Body

if TYPE_CHECKING:
    from pyconnector.origins.base import OriginRequest

KEY = (b"Sec-Websocket-Key", b"dGhlIHNhbXBsZSBub25jZQ==")


def header(response: OriginResponse, name: bytes) -> bytes:
    [value] = [value for key, value in response.headers if key == name]
    return value


@pytest.mark.usefixtures("each_loop")
async def test_a_fixed_status_has_nothing_else() -> None:
    for kind in RequestKind:
        response = await StatusOrigin(404).serve(get(kind=kind), Body(b"x"))
        assert (response.status, response.headers, response.trailers, response.tunnel) == (404, [], [], False)
        assert await read_all(response) == b""
        response.abort()


@pytest.mark.usefixtures("each_loop")
async def test_the_page_shows_the_request_and_runs_nothing_of_it() -> None:
    evil = b"<script>alert(1)</script>"

    asked = get(
        "/a%20b?x=<img src=x>&\udcff",
        (b"X-Evil", evil),
        (b"Accept", b"text/html"),
        (b"X-Bytes", b"\xff\xfe"),
        method="POST",
        length=None,
        host='"><b>host',
    )
    response = await HelloOrigin().serve(asked, Body(evil, b" and more"))
    assert response.status == 200
    assert header(response, b"Content-Type") == b"text/html; charset=utf-8"
    assert b"default-src 'none'" in header(response, b"Content-Security-Policy")
    page = await read_all(response)
    assert len(page) == int(header(response, b"Content-Length"))
    for raw in (b"<script", b"<img", b"<b>"):
        assert raw not in page
    for shown in (
        b"POST",
        b"/a%20b?x=&lt;img src=x&gt;",
        b"&lt;script&gt;alert(1)&lt;/script&gt; and more",
        b"text/html",
    ):
        assert shown in page
    assert b"http://" not in page
    assert b"https://" not in page, "nothing is loaded from elsewhere"


@pytest.mark.usefixtures("each_loop")
async def test_a_large_body_is_shown_in_part_and_not_read_to_its_end() -> None:
    body = Body(*[b"y" * 10_000] * 100)
    page = await read_all(await HelloOrigin().serve(get(method="PUT", length=1_000_000), body))
    assert page.count(b"y") < hello.MAX_BODY_SHOWN + 1000
    assert b"the rest is not shown" in page
    assert body.taken < 3 * hello.MAX_BODY_SHOWN


@pytest.mark.usefixtures("each_loop")
async def test_the_configured_host_is_shown() -> None:
    page = await read_all(await HelloOrigin("inner.test").serve(get(), Body()))
    assert b"<td>inner.test</td>" in page


@pytest.mark.usefixtures("each_loop")
async def test_head_has_the_length_and_no_body() -> None:
    response = await HelloOrigin().serve(get(method="HEAD"), Body())
    assert int(header(response, b"Content-Length")) > 1000
    assert await read_all(response) == b""


@pytest.mark.usefixtures("each_loop")
async def test_uptime_and_health() -> None:
    origin = HelloOrigin()
    assert await read_all(await origin.serve(get("/_health"), Body())) == b"ok"
    response = await origin.serve(get("/uptime?x"), Body())
    assert header(response, b"Content-Type") == b"application/json"
    facts = json.loads(await read_all(response))
    assert set(facts) == {"startTime", "uptime"}
    assert datetime.datetime.fromisoformat(facts["startTime"]).tzinfo is not None
    assert re.fullmatch(r"\d+\.\d{3}s", facts["uptime"])


@pytest.mark.usefixtures("each_loop")
async def test_events_tick_until_the_visitor_leaves() -> None:
    response = await HelloOrigin().serve(get("/sse?freq=20ms"), Body())
    assert header(response, b"Content-Type") == b"text/event-stream; charset=utf-8"
    began = time.monotonic()
    for number in range(3):
        assert await response.receive() == b"%d\n\n" % number
    assert 0.05 <= time.monotonic() - began < 1
    await asyncio.sleep(0.1)
    assert isinstance(response, Inbox)
    assert response.size <= 4, "ticks that nobody reads are not kept"
    response.abort()
    response.abort()
    assert await response.receive() == b""


@pytest.mark.parametrize("query", ["", "?freq=", "?freq=abc", "?freq=5", "?other=1s"])
def test_events_tick_every_ten_seconds_unless_told_otherwise(query: str) -> None:
    assert hello._tick(query[1:]) == 10.0
    assert hello._tick("freq=0s") == hello.MIN_TICK
    assert hello._tick("freq=-1s") == hello.MIN_TICK
    assert hello._tick("freq=1m30s") == 90.0


def socket_request(*headers: tuple[bytes, bytes], host: str = "app.test") -> OriginRequest:
    return get("/ws", KEY, *headers, kind=RequestKind.WEBSOCKET, length=None, host=host)


async def rest(response: OriginResponse) -> list[Frame]:
    data = b""
    while piece := await asyncio.wait_for(response.receive(), 30):
        data += piece
    await asyncio.wait_for(response.finish(), 30)
    return read_frames(data)


@pytest.mark.usefixtures("each_loop")
async def test_the_echo_says_back_every_message_as_it_was() -> None:
    big = os.urandom(200_000)

    body = Body(
        masked(frames.TEXT, "grüße".encode())
        + masked(frames.BINARY, b"a", fin=False)
        + masked(frames.PING, b"?")
        + masked(frames.CONTINUATION, b"b")
        + masked(frames.BINARY, b"")
        + masked(frames.BINARY, big)
        + masked(frames.CLOSE, b"\x03\xe8bye"),
        end=False,
    )
    response = await HelloOrigin().serve(socket_request(), body)
    assert response.status == 101
    got = await rest(response)
    assert got[:5] == [
        Frame(frames.TEXT, "grüße".encode(), True),
        Frame(frames.BINARY, b"a", False),
        Frame(frames.PONG, b"?", True),
        Frame(frames.CONTINUATION, b"b", True),
        Frame(frames.BINARY, b"", True),
    ]
    assert b"".join(frame.payload for frame in got[5:-1]) == big
    assert [frame.opcode for frame in got[5:-1]] == [frames.BINARY] + [frames.CONTINUATION] * (len(got) - 7)
    assert [frame.fin for frame in got[5:-1]] == [False] * (len(got) - 7) + [True]
    assert got[-1] == Frame(frames.CLOSE, b"\x03\xe8", True)


@pytest.mark.usefixtures("each_loop")
async def test_the_echo_refuses_broken_frames_and_ends_with_the_visitor() -> None:
    response = await HelloOrigin().serve(socket_request(), Body(b"\xff\xff"))
    [closed] = await rest(response)
    assert closed.payload[:2] == (1002).to_bytes(2)
    response = await HelloOrigin().serve(socket_request(), Body(masked(frames.TEXT, b"x")))
    assert await rest(response) == [Frame(frames.TEXT, b"x", True)]


@pytest.mark.usefixtures("each_loop")
async def test_the_echo_waits_for_a_visitor_who_does_not_read() -> None:
    body = Body(*[masked(frames.BINARY, bytes(60_000))] * 200, end=False)
    response = await HelloOrigin().serve(socket_request(), body)
    before = -1
    while body.taken != before:
        before = body.taken
        await asyncio.sleep(0.01)
    assert isinstance(response, Inbox)
    assert response.size <= INBOX_HIGH_WATER + 70_000
    got = 0
    while got < 200 * 60_000:
        got += len(await asyncio.wait_for(response.receive(), 30))
    await until(lambda: not body.pieces)
    response.abort()


@pytest.mark.usefixtures("each_loop")
@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        (b"https://app.test", "app.test:8443", 101),
        (b"https://app.test:8443", "app.test", 101),
        (b"https://evil.test", "app.test", 403),
        (b"null", "app.test", 403),
        (b"http://[", "app.test", 403),
    ],
)
async def test_another_site_may_not_open_the_echo(origin: bytes, host: str, status: int) -> None:
    asked = socket_request((b"Origin", origin), host=host)
    response = await HelloOrigin().serve(asked, Body())
    assert response.status == status
    response.abort()


@pytest.mark.usefixtures("each_loop")
async def test_the_echo_needs_a_websocket_and_the_page_no_tcp() -> None:
    assert (await HelloOrigin().serve(get("/ws"), Body())).status == 400
    with pytest.raises(OriginError):
        await HelloOrigin().serve(get(kind=RequestKind.TCP), Body())
    assert (await HelloOrigin().serve(get("//[x/"), Body())).status == 400


async def test_the_start_is_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "pyconnector")
    await HelloOrigin().start()
    assert "Starting Hello World service" in caplog.text
