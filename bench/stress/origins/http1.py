"""The HTTP/1.1 origin: /BEHAVIOUR/NUMBER/SIZE says what becomes of a request (`bench.stress.plan` has the list)."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.stress.body import Wrong, check_body, make_body
from bench.stress.origins.server import Gone, Peer
from bench.stress.origins.websocket import converse

if TYPE_CHECKING:
    from bench.stress.ledger import Ledger

#: Longest time that a late answer takes, in seconds.
LATEST = 0.2


@dataclass(frozen=True, slots=True)
class Request:
    """The head of one request."""

    method: str
    behaviour: str
    number: int
    size: int
    fields: dict[str, str]

    @property
    def has_body(self) -> bool:
        """Whether one follows."""
        return "transfer-encoding" in self.fields or self.fields.get("content-length", "0") != "0"


class HttpOrigin:
    """Serves one connection after the other with `serve`."""

    def __init__(self, ledger: Ledger, *, announces: bool = False) -> None:
        """With `announces` it says of each connection that it closes: else the next request may be sent there before
        the connector hears of the end, and fails where it has a body."""
        self._ledger = ledger
        self._announces = announces

    async def serve(self, peer: Peer) -> None:
        """Answer requests until the connection ends."""
        while True:
            request = await self._head(peer)
            if "upgrade" in request.fields:
                key = request.fields["sec-websocket-key"]
                await converse(peer, request.behaviour, key, announces=self._announces)
                return
            await self._answer(peer, request)

    async def _head(self, peer: Peer) -> Request:
        raw = (await peer.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        lines = raw.split("\r\n")
        method, target, _ = lines[0].split(" ")
        _, behaviour, number, size = target.split("/")
        fields = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in lines[1:-2]}
        return Request(method, behaviour, int(number), int(size), fields)

    async def _answer(self, peer: Peer, request: Request) -> None:
        behaviour = request.behaviour
        dice = random.Random(request.number)
        if behaviour in ("reset", "close") and dice.random() < 0.5:
            self._end(peer, behaviour)  # before the body is read
        if behaviour.startswith("early"):
            await self._whole(peer, request, last=self._announces and behaviour == "early-close")
            if behaviour == "early-close":
                raise Gone
            await self._body(peer, request)
            return
        await self._body(peer, request)
        if behaviour in ("reset", "close"):
            self._end(peer, behaviour)
        if behaviour == "late":
            await asyncio.sleep(dice.uniform(0, LATEST))
        if behaviour == "interim":
            await peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n")
        if behaviour in ("cut", "reset-mid"):
            await self._part(peer, request, behaviour, dice)
        elif behaviour == "chunked":
            await self._pieces(peer, request, dice)
        else:
            silent = behaviour == "silent-last" and not self._announces
            await self._whole(peer, request, last=behaviour in ("last", "silent-last") and not silent)
        if behaviour in ("last", "silent-last"):
            raise Gone

    def _end(self, peer: Peer, behaviour: str) -> None:
        if behaviour.startswith("reset"):
            peer.reset()
        raise Gone

    async def _whole(self, peer: Peer, request: Request, *, last: bool = False) -> None:
        body = make_body(request.number, request.size)
        extra = b"Connection: close\r\n" if last else b""
        head = b"HTTP/1.1 200 OK\r\nX-Number: %d\r\n%bContent-Length: %d\r\n\r\n" % (request.number, extra, len(body))
        await peer.send(head if request.method == "HEAD" else head + body)

    async def _pieces(self, peer: Peer, request: Request, dice: random.Random) -> None:
        body = make_body(request.number, request.size)
        await peer.send(b"HTTP/1.1 200 OK\r\nX-Number: %d\r\nTransfer-Encoding: chunked\r\n\r\n" % request.number)
        while body:
            count = dice.randint(1, max(len(body), 1))
            await peer.send(b"%x\r\n%b\r\n" % (len(body[:count]), body[:count]))
            body = body[count:]
            if dice.random() < 0.3:
                await asyncio.sleep(dice.uniform(0, 0.01))
        await peer.send(b"0\r\n\r\n")

    async def _part(self, peer: Peer, request: Request, behaviour: str, dice: random.Random) -> None:
        body = make_body(request.number, request.size)
        part = body[: dice.randrange(len(body))]
        # Behind the head of an answer to HEAD nothing is missing: such a close is one between two requests.
        extra = b"Connection: close\r\n" if self._announces else b""
        if dice.random() < 0.5:
            head = b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n" % (extra, len(body))
            await peer.send(head + part)
        else:
            chunk = b"%x\r\n%b\r\n" % (len(part), part) if part else b""
            await peer.send(b"HTTP/1.1 200 OK\r\n%bTransfer-Encoding: chunked\r\n\r\n" % extra + chunk)
        self._end(peer, behaviour)

    async def _body(self, peer: Peer, request: Request) -> None:
        if not request.has_body:
            return
        if "content-length" in request.fields:
            data = await peer.reader.readexactly(int(request.fields["content-length"]))
        else:
            data = await self._chunks(peer)
        try:
            check_body(data, request.number, whose="the upload of")
        except Wrong as error:
            self._ledger.finding(f"wrong: {error}")
        self._ledger.arrived(request.number)

    async def _chunks(self, peer: Peer) -> bytes:
        data = bytearray()
        while size := int(await peer.reader.readuntil(b"\r\n"), 16):
            data += (await peer.reader.readexactly(size + 2))[:-2]
        await peer.reader.readuntil(b"\r\n")
        return bytes(data)
