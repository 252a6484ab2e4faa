"""The load of `bench.loads.load` for connectors over HTTP/2: the same requests, as HTTP/2 requests made once."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, cast

from bench.loads.answers import HASHED, PIECE
from bench.loads.load import BROWSER, HOST, UPLOADED
from bench.loads.load import PIECE as UPLOAD_PIECE
from pyconnector.protocol.http import http2_form as form
from pyconnector.protocol.http.headers import RequestHead

if TYPE_CHECKING:
    from bench.loads.load import Unit
    from pyconnector.edge.connectors.connection import EdgeConnection
    from pyconnector.edge.connectors.tunnels import Tunnel
    from pyconnector.transport.http2 import Http2Connection, Http2Stream


def request_fields(path: str, *, method: str = "GET", length: int = 0) -> form.Fields:
    """What asks for `path` of the bench's hostname."""
    headers = [(key.removeprefix(b"HttpHeader:"), value) for key, value in BROWSER]
    return form.request_fields(RequestHead(method=method, target=path, host=HOST, headers=headers, body_length=length))


class Answers:
    """Every answer must be a 200 of the origin with a body of `size` bytes, and one in so many that of the first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._hash = b""
        self._seen = 0

    async def check(self, stream: Http2Stream) -> int:
        """Read the answer to its end; return the size of its body. Cancel leaves the rest unread.

        Raises:
            RuntimeError: it is not what it should be.
        """
        fields = await stream.response()
        if fields[0] != (b":status", b"200") or (form.RESPONSE_META, form.FROM_ORIGIN) not in fields:
            raise RuntimeError("not a 200 of the origin")
        self._seen += 1
        hashing = hashlib.sha256() if self._seen % HASHED == 1 else None
        size = 0
        while piece := await stream.receive(PIECE):
            size += len(piece)
            if hashing is not None:
                hashing.update(piece)
        if size != self._size:
            raise RuntimeError(f"{size} bytes in place of {self._size}")
        if hashing is not None:
            self._hash = self._hash or hashing.digest()
            if hashing.digest() != self._hash:
                raise RuntimeError("another body than that of the first answer")
        return size


def download(size: int) -> Unit:
    """GET `size` bytes."""
    fields = request_fields(f"/bytes/{size}")
    answers = Answers(size)

    async def unit(tunnel: Tunnel) -> int:
        stream = await _connection(tunnel).open_request(fields, end=True)
        try:
            return await answers.check(stream)
        except BaseException:
            stream.stop()
            raise

    return unit


def upload(size: int) -> Unit:
    """POST `size` bytes."""
    fields = request_fields("/sink", method="POST", length=size)
    answers = Answers(len(str(size)))

    async def unit(tunnel: Tunnel) -> int:
        stream, left = await _connection(tunnel).open_request(fields), size
        try:
            while left:
                piece = UPLOADED if left >= UPLOAD_PIECE else UPLOADED[:left]
                left -= len(piece)
                if stream.send_nowait(piece, finish=not left):
                    await stream.drain()
            await answers.check(stream)
        except BaseException:
            stream.reset()
            stream.stop()
            raise
        return size

    return unit


def _connection(tunnel: Tunnel) -> Http2Connection:
    member = cast("EdgeConnection | None", tunnel.pick())
    if member is None:
        raise RuntimeError("the tunnel has no connection")
    return cast("Http2Connection", member.transport)
