"""Whatever bytes come, in whatever pieces: the edge's parsers raise their own error or agree with themselves."""

from __future__ import annotations

import itertools
import os
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pyconnector.edge.visitors.http1.request_body import ChunkedBody
from pyconnector.edge.visitors.http1.request_parser import BadRequest, RequestReader
from pyconnector.edge.visitors.tcp.websocket_client import WebSocketCarriage

REQUEST = b"POST /a?b HTTP/1.1\r\nHost: a.test\r\nX: 1\r\nContent-Length: 3\r\nConnection: close, X\r\n\r\n"
CHUNKS = b"3\r\nabc\r\n1;x=y\r\nd\r\n0\r\nT: u\r\n\r\nleft over"
FRAMES = b"\x82\x03abc\x89\x01p\x01\x02de\x80\x01f\x82\x7e\x00\x80" + b"g" * 128 + b"\x88\x02\x03\xe8"


@st.composite
def mutated(draw: st.DrawFn, seed: bytes) -> bytes:
    """Return the seed with a few bytes replaced, removed, doubled or inserted."""
    data = bytearray(seed)
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(data)))
        kind = draw(st.integers(0, 2))
        if kind == 0:
            data[place:place] = draw(st.binary(max_size=4) | st.sampled_from([b"\r\n", b"\n", b"\0", b" ", b":"]))
        elif kind == 1:
            del data[place : place + draw(st.integers(1, 5))]
        else:
            data[place:place] = data[place : place + draw(st.integers(1, 20))]
    return bytes(data)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(places)]


CUTS = st.lists(st.integers(0, 1000), max_size=12)


def read_request(parts: list[bytes]) -> Any:
    reader = RequestReader()
    found: list[Any] = []
    try:
        for part in parts:
            reader.feed(part)
            while not found and (request := reader.next_request()) is not None:
                found.append((request.method, request.target, request.host, request.headers, request.body_length))
    except BadRequest:
        return "refused"
    return found, bytes(reader.leftover)


@given(data=mutated(REQUEST), cuts=CUTS)
@settings(max_examples=300, deadline=None)
def test_requests(data: bytes, cuts: list[int]) -> None:
    whole = read_request([data])
    assert read_request(pieces(data, cuts)) == whole
    if whole != "refused" and whole[0]:
        for _, _, host, headers, _ in whole[0]:
            for text in (host, *[part for field in headers for part in field]):
                assert not set(text) & set(b"\r\n\0")


def read_chunks(parts: list[bytes]) -> Any:
    body = ChunkedBody()
    got = b""
    waiting = bytearray()
    try:
        for part in parts:
            waiting += part
            while not body.finished:
                got += body.take(waiting)
                if not body.is_behind:
                    break
    except BadRequest:
        return "refused"
    return got, bytes(waiting), body.finished


@given(data=mutated(CHUNKS), cuts=CUTS)
@settings(max_examples=300, deadline=None)
def test_chunks(data: bytes, cuts: list[int]) -> None:
    assert read_chunks(pieces(data, cuts)) == read_chunks([data])


def read_frames(parts: list[bytes]) -> Any:
    carriage = WebSocketCarriage(os.urandom)
    got = b""
    try:
        for part in parts:
            payload, _, ended = carriage.from_stream(part)
            got += payload
            if ended:
                return got, True
    except ValueError:
        return "refused"
    return got, False


@given(data=mutated(FRAMES), cuts=CUTS)
@settings(max_examples=300, deadline=None)
def test_frames(data: bytes, cuts: list[int]) -> None:
    assert read_frames(pieces(data, cuts)) == read_frames([data])
