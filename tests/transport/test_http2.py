"""HTTP/2 carries streams as every transport does, but for what RST_STREAM cannot say."""

from __future__ import annotations

import asyncio
import functools
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from pyconnector.transport.errors import ConnectFailed, ConnectionClosed, StreamReset
from pyconnector.transport.http2 import SERVER_SETTINGS, Http2Stream, connect
from pyconnector.transport.http2.settings import Http2Settings
from tests.transport.conformance import Check, fill, read_all, send_all, until
from tests.transport.conformance_connections import CONNECTION_CHECKS
from tests.transport.conformance_streams import STREAM_CHECKS
from tests.transport.pairs.http2_pair import conformance_pair, http2_pair, listening

pytestmark = pytest.mark.usefixtures("loop_errors")

HEAD = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"app.test"), (b":path", b"/")]

#: What HTTP/2 has no word for, and therefore cannot do.
NOT_IN_HTTP2 = {
    # A server opens no streams.
    "data_goes_both_ways_on_streams_of_either_end",
    "a_stream_handler_takes_queued_and_later_streams",
    "streams_opened_before_the_end_can_still_be_accepted",
    # There are no datagrams.
    "datagrams_go_both_ways_and_have_a_size",
    "unread_datagrams_are_bounded",
    "a_handler_is_given_what_waited_and_each_datagram_that_follows",
    # RST_STREAM ends both directions, with a code of HTTP/2's own (below).
    "a_reset_reaches_the_reader_with_its_code",
    "a_stop_reaches_the_sender_with_its_code",
    "a_stop_wakes_a_sender_that_waits",
    "a_direction_has_one_user_at_a_time",
    "the_abort_callback_is_called_once_for_each_kind_of_abort",
}
CHECKS = [check for check in STREAM_CHECKS + CONNECTION_CHECKS if check.__name__ not in NOT_IN_HTTP2]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_http2_transport(check: Check, tmp_path: Path) -> None:
    await check(functools.partial(conformance_pair, tmp_path))


async def test_requests_have_heads_bodies_and_trailers(tmp_path: Path) -> None:
    async with http2_pair(tmp_path) as (edge, connector):
        asked = await edge.open_request([*HEAD, (b"x", b"1")])
        taken = await connector.accept_stream()
        assert isinstance(taken, Http2Stream)
        assert taken.head == [*HEAD, (b"x", b"1")]
        asked.send_nowait(b"question")
        asked.send_trailers([(b"asked", b"yes")])
        assert await read_all(taken) == b"question"
        assert taken.trailers == [(b"asked", b"yes")]
        taken.send_head([(b":status", b"299")])
        taken.send_nowait(b"answer")
        taken.send_trailers([(b"sum", b"42")])
        assert await asked.response() == [(b":status", b"299")]
        assert await read_all(asked) == b"answer"
        assert asked.trailers == [(b"sum", b"42")]
        await until(lambda: not edge.streams and not connector.streams, "the end of the stream")


async def test_a_request_without_a_body_says_so_in_its_head(tmp_path: Path) -> None:
    async with http2_pair(tmp_path) as (edge, connector):
        for end in (True, False):
            asked = await edge.open_request(HEAD, end=end)
            taken = await connector.accept_stream()
            assert isinstance(taken, Http2Stream)
            assert taken.bodiless is end
            asked.finish()
            assert await read_all(taken) == b""


async def test_a_reset_ends_both_directions_at_the_peer(tmp_path: Path) -> None:
    async with http2_pair(tmp_path) as (edge, connector):
        for first, code in (("edge", 8), ("connector", 2)):
            asked = await edge.open_request(HEAD)
            taken = await connector.accept_stream()
            near, far = (asked, taken) if first == "edge" else (taken, asked)
            aborted = asyncio.Event()
            far.set_abort_callback(aborted.set)
            near.reset()
            await asyncio.wait_for(aborted.wait(), 30)
            with pytest.raises(StreamReset) as caught:
                await far.receive()
            assert caught.value.code == code
            with pytest.raises(StreamReset):
                far.send_nowait(b"x")
            assert not edge.streams
            assert not connector.streams


async def test_a_stop_reaches_the_peer_once_everything_is_sent(tmp_path: Path) -> None:
    async with http2_pair(tmp_path) as (edge, connector):
        asked = await edge.open_request(HEAD)
        taken = await connector.accept_stream()
        taken.stop()
        asked.send_nowait(b"dropped")
        taken.send_nowait(b"x" * 1_000_000, finish=True)
        assert await read_all(asked) == b"x" * 1_000_000
        await until(lambda: not edge.streams and not connector.streams, "the end of the stream")
        with pytest.raises(StreamReset):
            asked.send_nowait(b"more")


async def test_a_stalled_stream_holds_little_and_one_that_is_read_gets_more(tmp_path: Path) -> None:
    async with http2_pair(tmp_path) as (edge, connector):
        stalled = await edge.open_request(HEAD)
        held = await connector.accept_stream()
        await fill(stalled)
        assert isinstance(held, Http2Stream)
        assert held.buffered == SERVER_SETTINGS.initial_stream_window
        flowing = await edge.open_request(HEAD)
        read = await connector.accept_stream()
        sending = asyncio.ensure_future(send_all(flowing, bytes(4_000_000)))
        assert len(await read_all(read)) == 4_000_000
        await sending
        assert isinstance(read, Http2Stream)
        assert read._window > 4 * SERVER_SETTINGS.initial_stream_window


async def test_a_ping_is_answered_behind_what_was_sent(tmp_path: Path) -> None:
    async with http2_pair(tmp_path) as (edge, connector):
        assert 0 < await asyncio.wait_for(connector.ping(), 30) < 5
        assert connector.statistics().rtt_latest is not None
        waiting = asyncio.ensure_future(connector.ping())
        await asyncio.sleep(0)
        edge._socket.abort()
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(waiting, 30)


async def test_a_silent_peer_is_asked_and_then_given_up(tmp_path: Path) -> None:
    quick = replace(SERVER_SETTINGS, keepalive=0.05, idle_timeout=0.4)

    async with http2_pair(tmp_path, server=quick) as (edge, connector):
        await asyncio.sleep(1)
        assert connector.closed is None, "its PINGs are answered"
        edge._socket.pause_reading()
        info = await asyncio.wait_for(connector.wait_closed(), 30)
        assert (info.idle, info.local) == (True, True)
        edge._socket.resume_reading()


async def test_a_leaving_peer_is_sent_nothing_new_and_what_runs_ends(tmp_path: Path) -> None:
    async with http2_pair(tmp_path) as (edge, connector):
        asked = await edge.open_request(HEAD, end=True)
        taken = await connector.accept_stream()
        connector._core.goodbye(0, b"see you")
        connector._outgoing.flush()
        await until(lambda: edge.goaway is not None, "its goodbye")
        with pytest.raises(ConnectionClosed, match="see you"):
            await edge.open_request(HEAD)
        taken.send_nowait(b"still", finish=True)
        assert await read_all(asked) == b"still"
        assert (await asyncio.wait_for(edge.wait_closed(), 30)).reason == "see you"


@pytest.mark.parametrize(
    ("server_name", "authority", "untrusted"),
    [("h2.cftunnel.com", "own", False), ("other.example", "own", True), ("h2.cftunnel.com", None, True)],
)
async def test_the_edge_is_verified(server_name: str, authority: str | None, untrusted: bool, tmp_path: Path) -> None:
    async with listening(tmp_path, asyncio.Protocol) as (address, ca_file):
        trusted = ca_file if authority else None
        if untrusted:
            with pytest.raises(ConnectFailed) as caught:
                await connect(address, ca_file=trusted, server_name=server_name)
            assert caught.value.untrusted
        else:
            connection = await connect(address, ca_file=trusted, server_name=server_name)
            connection.close()
            await connection.wait_closed()


async def test_an_edge_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = silent.getsockname()
        with pytest.raises(ConnectFailed, match=r"no answer from 127\.0\.0\.1:[0-9]+ within 0\.2 s"):
            await connect(address, settings=Http2Settings(dial_timeout=0.2))
    with pytest.raises(ConnectFailed, match="nothing listens at"):
        await connect(address)
