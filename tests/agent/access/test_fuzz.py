"""Whatever an edge sends, an access client tells bytes, an end and an error apart, and nothing else happens."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyconnector.agent.access.application import payload_of
from pyconnector.agent.access.errors import AccessError
from pyconnector.agent.access.handshake import HandshakeError, Head, read_head, refused_token, sentence_of
from pyconnector.agent.access.place import parse_place
from pyconnector.agent.access.stream import AccessStream
from pyconnector.web.websocket import frames


class Writer:
    """Takes everything."""

    def __init__(self) -> None:
        self.transport = self
        self.sent = bytearray()

    def set_write_buffer_limits(self, high: int) -> None: ...

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes) -> None:
        self.sent += data


async def why() -> AccessError:
    return AccessError("broke off")


async def told(data: list[bytes]) -> tuple[bytes, str, bytearray]:
    """The bytes of the service, how it ended, and what was answered."""
    reader, writer = asyncio.StreamReader(), Writer()
    stream = AccessStream(reader, writer, why)  # type: ignore[arg-type]
    for piece in data:
        reader.feed_data(piece)
    reader.feed_eof()
    received = b""
    try:
        while piece := await stream.receive():
            received += piece
    except AccessError as error:
        return received, str(error), writer.sent
    return received, "", writer.sent


FRAMES = st.lists(
    st.one_of(
        st.binary(max_size=300).map(lambda data: frames.frame(frames.BINARY, data)),
        st.binary(max_size=100).map(lambda data: frames.frame(frames.PING, data)),
        st.binary(max_size=40),
        st.sampled_from([1000, 1001, 1002, 1011, 3000]).map(lambda code: frames.close_frame(code, "why")),
    ),
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(FRAMES, st.integers(1, 50))
async def test_any_bytes_of_an_edge_come_to_an_end(pieces: list[bytes], size: int) -> None:
    data = b"".join(pieces)
    whole = await told([data])
    cut = await told([data[at : at + size] for at in range(0, len(data), size)])
    assert whole[1] == cut[1]
    assert cut[0].startswith(whole[0])  # what came in one read with a broken frame is dropped with it
    assert whole[0] == cut[0] or "does not speak" in whole[1]
    frames.FrameDecoder(masked=True).feed(bytes(whole[2]))  # what was answered is a client's


@pytest.mark.parametrize(
    ("data", "received", "end"),
    [
        (frames.frame(frames.BINARY, b"a") + frames.close_frame(1000), b"a", ""),
        (frames.frame(frames.BINARY, b"a") + frames.close_frame(1011, "gone"), b"a", "from behind: gone"),
        (frames.frame(frames.BINARY, b"a"), b"a", "broke off"),
        (frames.masked_frame(frames.BINARY, b"a", b"abcd"), b"", "does not speak WebSocket"),
        (b"", b"", "broke off"),
    ],
)
async def test_ends_are_told_apart(data: bytes, received: bytes, end: str) -> None:
    found = await told([data])
    assert found[0] == received
    assert end in found[1]
    assert bool(end) == bool(found[1])


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=200), st.text(max_size=60))
def test_heads_texts_and_urls_are_read_or_refused(data: bytes, text: str) -> None:
    try:
        head = read_head(data)
    except HandshakeError:
        head = Head(403, {"content-type": "application/json"})
    said: Any = sentence_of(head, data)
    assert said.isprintable()
    assert refused_token(data) in {True, False}
    assert isinstance(payload_of(text), dict)
    try:
        place = parse_place(text)
    except ValueError:
        return
    assert place.host.isascii()
    assert place.target.isprintable()
