"""Streams that no honest edge opens: refused with a sentence, never written to an origin; all else lives on."""

from __future__ import annotations

import asyncio

import pytest

from pyconnector.connector.link.quic import data_streams
from pyconnector.protocol.streams.connect import ConnectionType, ConnectRequest
from pyconnector.protocol.streams.openings import encode_connect_request, encode_rpc_opening
from tests.support.loop.leaks import nothing_left
from tests.support.peers.hostile import hostility, sentences
from tests.support.peers.scripted_edge import answer_of, get_request
from tests.support.wire.wire import illegal_openings, illegal_requests

#: These tests write on data streams themselves.
QUIC_ONLY = True

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HONEST = get_request("/honest", (b"HttpHeader:X-A", b"1"))


async def test_what_is_no_opening_is_reset(engine: str, caplog: pytest.LogCaptureFixture) -> None:
    async with hostility(engine) as here, nothing_left():
        for what, data in illegal_openings().items():
            answer = await here.edge.ask(data, finish=False)
            assert (answer.response, answer.reset) == (None, True), what
            (sentence,) = sentences(caplog)
            assert sentence.startswith("Refused a stream: "), what
        await here.say(b"meanwhile")
        assert here.received == b""


async def test_an_opening_that_is_cut_off_is_reset(engine: str, caplog: pytest.LogCaptureFixture) -> None:
    whole = encode_connect_request(HONEST)
    async with hostility(engine) as here, nothing_left():
        for size in range(0, len(whole), 7):
            answer = await here.edge.ask(whole[:size])
            assert (answer.response, answer.reset) == (None, True), size
            (sentence,) = sentences(caplog)
            assert sentence.startswith("Refused a stream: it ended "), size
        assert here.received == b""


async def test_an_opening_in_pieces_of_any_size_is_read(engine: str) -> None:
    whole = encode_connect_request(HONEST)
    async with hostility(engine, OK) as here:
        for step in (1, 2, 3, 5, 8, 13, 50):
            stream = await here.edge.open(whole[:step])
            for start in range(step, len(whole), step):
                await asyncio.sleep(0)
                await stream.send(whole[start : start + step])
            stream.finish()
            answer = await answer_of(stream)
            assert (answer.status, answer.body) == (200, b"ok"), step


async def test_an_opening_that_never_ends_is_given_up(
    engine: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_streams, "OPENING_TIMEOUT", 0.2)

    whole = encode_connect_request(HONEST)
    async with hostility(engine) as here, nothing_left():
        answer = await here.edge.ask(whole[:-1], finish=False)
        assert (answer.response, answer.reset) == (None, True)
        assert sentences(caplog) == ["Refused a stream: its opening was not complete after 0.2 s"]


@pytest.mark.parametrize("kind", [ConnectionType.HTTP, ConnectionType.WEBSOCKET])
async def test_a_request_that_would_break_out_is_never_written_to_the_origin(
    kind: ConnectionType, engine: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with hostility(engine) as here, nothing_left():
        for what, request in illegal_requests().items():
            request = ConnectRequest(dest=request.dest, type=kind, metadata=request.metadata)
            answer = await here.edge.ask(request, finish=False)
            assert answer.error, what
            assert answer.status == 400, what
            assert "\r" not in answer.error, what
            assert "\n" not in answer.error, what
            assert len(sentences(caplog)) == 1, what
        assert here.received == b""
        assert len(here.origin.peers) == 1


@pytest.mark.parametrize(
    ("dest", "reason"),
    [
        ("", "no destination"),
        ("localhost:22", "no destination"),
        ("10.0.0.1", "no destination"),
        ("10.0.0.1:0", "no destination"),
        ("10.0.0.1:65536", "no destination"),
        ("10.0.0.1:22\r\nx", "no destination"),
        ("127.0.0.1:1", "refused the connection"),
    ],
)
async def test_an_address_that_is_none(dest: str, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    async with hostility() as here, nothing_left():
        answer = await here.edge.ask(ConnectRequest(dest=dest, type=ConnectionType.TCP), finish=False)
        assert reason in answer.error
        (sentence,) = sentences(caplog)
        assert reason in sentence


@pytest.mark.parametrize("sent", [b"", b"abc", b"abcdefghij"])
async def test_a_body_that_is_not_as_long_as_it_said(
    sent: bytes, engine: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with hostility(engine) as here, nothing_left():
        request = encode_connect_request(get_request("/", (b"HttpHeader:Content-Length", b"5")))
        answer = await here.edge.ask(request + sent)
        assert answer.status == 400
        assert f"its body is {'longer' if len(sent) > 5 else f'{5 - len(sent)} bytes shorter'}" in answer.error
        (sentence,) = sentences(caplog)
        assert "its body is" in sentence
        # What follows the announced length would be the next request to the origin.
        assert not here.received.partition(b"\r\n\r\n")[2].startswith(b"abcdef")


async def test_an_edge_that_passes_expect_on(engine: str) -> None:
    """The local edge answers it by itself; another may leave it to the origin, whose 100 the body waits for."""

    pairs = ((b"HttpHeader:Content-Length", b"5"), (b"HttpHeader:Expect", b"100-continue"))
    opening = encode_connect_request(get_request("/", *pairs))
    async with hostility(engine, b"HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n") as here, nothing_left():
        answer = await here.edge.ask(opening + b"hello", finish=False)
        assert answer.status == 417
        assert b"\r\nExpect: 100-continue\r\n" in here.received
        assert b"hello" not in here.received


RPC_GARBAGE = [b"", b"\x00", b"\xff" * 64, bytes(64), b"\x00\x00\x00\x00\x01\x00\x00\x00" + b"\xff" * 8]


@pytest.mark.parametrize("data", RPC_GARBAGE)
async def test_rpc_that_is_none_ends_its_stream_alone(
    data: bytes, engine: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with hostility(engine) as here, nothing_left():
        stream = await here.edge.open(encode_rpc_opening() + data, finish=True)
        async with asyncio.timeout(30):
            while await stream.receive():
                pass
        await here.say(b"meanwhile")
    assert sentences(caplog) == []


async def test_datagrams_of_any_kind_do_no_harm(engine: str) -> None:
    async with hostility(engine) as here, nothing_left():
        for data in (b"", b"\x00", b"\xff" * 1000, bytes(17) + b"\x00", b"x" * 16 + b"\x00", b"\x03"):
            here.edge.connection.send_datagram(data)
        for number in range(1000):
            here.edge.connection.send_datagram(number.to_bytes(100))
        await here.say(b"meanwhile")
