"""A connector that meets a scripted edge: what the edge sends is up to the test, and one honest exchange goes on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from pyconnector import Connector
from pyconnector.protocol.streams.openings import ConnectResponseDecoder, encode_connect_request
from tests.support.houses.house import config_to
from tests.support.peers.raw_origin import Peer, RawOrigin, raw_origin
from tests.support.peers.scripted_edge import ScriptedEdge, get_request, scripted_edge

if TYPE_CHECKING:
    from pyconnector.transport.seam import Connection, Stream


@dataclass(slots=True)
class Hostility:
    """Both ends, the origin behind the connector, and a stream that was opened first and lasts."""

    edge: ScriptedEdge
    connector: Connector
    origin: RawOrigin
    talking: Stream
    _words: asyncio.Queue[bytes] = field(repr=False)

    async def say(self, word: bytes) -> None:
        """Send a word from the origin through the lasting stream, and see it arrive."""
        self._words.put_nowait(word)
        async with asyncio.timeout(30):
            assert await self.talking.receive() == word

    def connections(self) -> list[Connection]:
        """Both ends of the QUIC connection."""
        return [self.edge.connection, *self.connector.edge_connections().values()]

    @property
    def received(self) -> bytes:
        """All that the origin was sent, but for the exchange that lasts."""
        return b"".join(peer.received for peer in self.origin.peers[1:])


@contextlib.asynccontextmanager
async def hostility(engine: str = "aioquic", answer: bytes = b"") -> AsyncIterator[Hostility]:
    """Start both. In the end the lasting stream must still work, on the one connection there was.

    Every request but the first gets `answer`; the origin then takes what comes until its connection closes.
    """
    words = asyncio.Queue[bytes]()

    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        while word := await words.get():
            await peer.send(word)

    async def take(peer: Peer) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while data := await peer.reader.read(65_536):
                peer.received += data
                if answer and peer.received.endswith(b"\r\n\r\n"):
                    peer.writer.write(answer)

    async with raw_origin(talk, take) as origin, scripted_edge() as edge:
        rules = [{"service": f"http://127.0.0.1:{origin.port}"}]
        config = config_to(edge.listener.address, edge.ca_path, rules, engine=engine)
        async with Connector(config) as connector:
            await edge.registered.wait()
            talking = await edge.open(encode_connect_request(get_request("/talk")), finish=True)
            decoder = ConnectResponseDecoder()
            while decoder.feed(await talking.receive()) is None:
                pass
            yield Hostility(edge, connector, origin, talking, words)
            words.put_nowait(b"still here")
            words.put_nowait(b"")
            async with asyncio.timeout(30):
                assert await talking.receive() == b"still here"
                assert await talking.receive() == b""
            assert len(edge.registrations) == 1, "the connection did not survive"


def sentences(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the log says of a level that a user sees as trouble; no tracebacks. The log is then empty."""
    troubles = [record for record in caplog.records if record.levelno >= logging.WARNING and record.name != "asyncio"]
    assert all(record.exc_info is None for record in troubles), caplog.text
    caplog.clear()
    return [record.getMessage() for record in troubles]
