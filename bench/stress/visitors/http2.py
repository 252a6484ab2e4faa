"""Visitors over HTTP/2, of plain HTTP and of gRPC: some streams at once on one connection that is kept.

Each stream has a plan of its own, so that one may be reset while its neighbours must get their answers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from bench.stress.body import Wrong, check_body, make_body
from bench.stress.ledger import Failed
from bench.stress.origins.grpc import message
from bench.stress.plan import FAILING, Plan
from bench.stress.visitors.base import Places, expect_failure, reached
from bench.stress.visitors.http1 import host_of
from tests.support.peers.h2_visitor import H2Visitor, StreamLog, h2_visitor


class Http2Visitor:
    """One connection, kept from visit to visit."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._connection: H2Visitor | None = None

    async def ready(self) -> None:
        """Be connected."""
        if self._connection is None or self._connection.lost or self._connection.goaway is not None:
            await self.close()
            self._connection = await h2_visitor(self._places.http)

    def stream(self) -> Http2Stream:
        """One more stream of the connection, for one plan."""
        assert self._connection is not None
        return Http2Stream(self._connection)

    async def close(self) -> None:
        """Break the connection off, and with it all streams."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


class Http2Stream:
    """One request and its answer: a visitor on a connection that it shares."""

    def __init__(self, connection: H2Visitor) -> None:
        self._connection = connection
        self._id = 0

    async def visit(self, plan: Plan) -> None:
        """As `Visitor`."""
        reached(plan, "connected")
        if self._connection.lost or self._connection.goaway is not None:
            raise Failed("the connection went before the request")
        is_grpc = plan.kind == "grpc"
        log = self._open(plan, is_grpc)
        reached(plan, "head sent")
        sending = asyncio.create_task(self._upload(plan, log, is_grpc), name="stress upload")
        try:
            if plan.leave is not None and plan.leave.moment in ("half sent", "sent"):
                await sending
                reached(plan, plan.leave.moment)
            await self._until(lambda: bool(log.fields) or _over(log))
            reached(plan, "head received")
            await self._until(lambda: len(log.body) > 0 or _over(log))
            reached(plan, "half received")
            await self._until(lambda: _over(log))
            if not sending.done():
                await self.leave("stream")  # answered before the upload's end: the rest is not wanted
        finally:
            sending.cancel()
            with contextlib.suppress(Failed, asyncio.CancelledError):
                await sending
            self._connection.streams.pop(self._id, None)
        self._judge(plan, log, is_grpc)

    def _open(self, plan: Plan, is_grpc: bool) -> StreamLog:
        method = b"HEAD" if plan.behaviour == "head" else b"POST" if plan.upload else b"GET"
        host = host_of(plan)
        more = []
        if is_grpc:
            host = "goaway.test" if plan.behaviour == "goaway" else "grpc.test"
            more = [(b"te", b"trailers"), (b"content-type", b"application/grpc")]
        elif plan.upload and not plan.chunked:
            more = [(b"content-length", b"%d" % plan.upload)]
        path = f"/{plan.behaviour}/{plan.number}/{plan.download}".encode()
        self._id = self._connection.open(
            *more, method=method, path=path, pseudo={"authority": host.encode()}, end=not plan.upload
        )
        return self._connection.streams[self._id]

    async def _until(self, condition: Callable[[], bool]) -> None:
        connection = self._connection
        await connection.until(lambda: condition() or connection.lost or connection.goaway is not None, seconds=3600)
        if not condition():
            raise Failed(f"the connection ended (GOAWAY {connection.goaway})")

    async def _upload(self, plan: Plan, log: StreamLog, is_grpc: bool) -> None:
        if not plan.upload:
            return
        body = make_body(plan.number, plan.upload)
        data = message(body) if is_grpc else body
        half = len(data) // 2
        await self._send(data[:half], log)
        await asyncio.sleep(plan.pause)
        if plan.leave is None or plan.leave.moment != "half sent":
            await self._send(data[half:], log, end=True)

    async def _send(self, data: bytes, log: StreamLog, *, end: bool = False) -> None:
        h2, position = self._connection.h2, 0
        while position < len(data):
            await self._until(lambda: _over(log) or h2.local_flow_control_window(self._id) > 0)
            if _over(log):
                return
            size = min(h2.local_flow_control_window(self._id), 16_384, len(data) - position)
            position += size
            h2.send_data(self._id, data[position - size : position], end_stream=end and position == len(data))
            self._connection.flush()

    def _judge(self, plan: Plan, log: StreamLog, is_grpc: bool) -> None:
        if not log.ended:
            expect_failure(plan, f"RST_STREAM {log.reset}, fields {log.fields[:1]}")
            return
        if log.status != 200:
            expect_failure(plan, f"status {log.status}: {bytes(log.body[-220:-60])!r}")
            return
        if is_grpc:
            self._judge_grpc(plan, log)
            return
        if plan.behaviour in FAILING:
            raise Wrong(f"{plan.number} got a whole answer from an origin that gave a part")
        if plan.behaviour == "head":
            if log.field(b"x-number") != b"%d" % plan.number:
                raise Wrong(f"HEAD {plan.number} has the answer of {log.field(b'x-number')!r}")
            return
        check_body(bytes(log.body), plan.number, whose="the answer to")

    def _judge_grpc(self, plan: Plan, log: StreamLog) -> None:
        trailers = dict(log.trailers if log.trailers is not None else log.fields)
        status = trailers.get(b"grpc-status")
        if plan.behaviour == "error":
            if status != b"13" or log.body:
                raise Failed(f"call {plan.number} has status {status!r} in place of an error")
            return
        if status != b"0":
            expect_failure(plan, f"gRPC status {status!r}: {trailers.get(b'grpc-message')!r}")
            return
        if plan.behaviour in FAILING:
            raise Wrong(f"call {plan.number} got a whole answer from an origin that gave a part")
        if trailers.get(b"x-hash") != b"%d" % plan.number:
            raise Wrong(f"call {plan.number} has the trailers of {trailers.get(b'x-hash')!r}")
        if int.from_bytes(log.body[1:5], "big") != len(log.body) - 5:
            raise Wrong(f"the answer to call {plan.number} has {len(log.body)} bytes and ended")
        check_body(bytes(log.body[5:]), plan.number, whose="the answer to call")

    async def leave(self, manner: str) -> None:
        """Reset the stream; breaking the connection off is up to its owner."""
        connection = self._connection
        if self._id and not connection.lost and connection.goaway is None:
            stream = connection.h2.streams.get(self._id)
            if stream is not None and not stream.closed:
                connection.reset(self._id)

    async def close(self) -> None:
        """Nothing: the connection is its owner's."""


def _over(log: StreamLog) -> bool:
    return log.ended or log.reset is not None
