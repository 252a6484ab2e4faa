"""Take a configuration that the edge pushes in an HTTP/2 request, and answer which one is in force (wire.md 14)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.http import http2_form as form

if TYPE_CHECKING:
    from pyconnector.connector.active.orchestrator import Orchestrator
    from pyconnector.connector.observe.counters import Counters
    from pyconnector.transport.http2 import Http2Stream

#: Bytes from which on a configuration is read in a thread: parsing it takes that long.
LARGE = 64 * 1024


async def answer_update(stream: Http2Stream, orchestrator: Orchestrator, counters: Counters, timeout: float) -> None:
    """Read the update on `stream` within `timeout` seconds, put it in force and answer. Cancel: it may be in force.

    Raises:
        TransportError: the edge left.
    """
    started = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(timeout):
            body = await _read(stream)
        if len(body) < LARGE:
            version, config = form.decode_update(body)
        else:
            version, config = await asyncio.to_thread(form.decode_update, body)
    except (ProtocolError, TimeoutError):
        stream.send_head(form.failure_fields(502))
        stream.finish()
        return
    calls = counters.server_call("config", "update_configuration")
    applied = await orchestrator.apply_remote(version, config)
    stream.send_head([(b":status", b"200"), (b"content-type", b"application/json")])
    stream.send_nowait(form.encode_update_answer(applied.latest_version, applied.error), finish=True)
    calls.operations += 1
    calls.latency.observe(asyncio.get_running_loop().time() - started)


async def _read(stream: Http2Stream) -> bytes:
    pieces, size = [], 0
    while piece := await stream.receive():
        pieces.append(piece)
        size += len(piece)
        if size > form.MAX_UPDATE_BYTES:
            raise ProtocolError("a configuration update is too large")
    return b"".join(pieces)
