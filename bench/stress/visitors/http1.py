"""Visitors over HTTP/1.1, who keep their connection from one visit to the next."""

from __future__ import annotations

import asyncio
import contextlib
import re
from dataclasses import dataclass

from bench.stress.body import Wrong, check_body, make_body
from bench.stress.ledger import Failed
from bench.stress.plan import FAILING, Plan
from bench.stress.visitors.base import Line, Places, expect_failure, reached


@dataclass(slots=True)
class Head:
    """The head of a response."""

    status: int
    fields: dict[str, str]


async def read_head(reader: asyncio.StreamReader) -> Head:
    """Read the head of a response that is no interim one."""
    while True:
        raw = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        lines = raw.split("\r\n")
        if not lines[0].startswith("HTTP/1.1 "):
            raise Wrong(f"no response begins with {lines[0][:80]!r}")
        status = int(lines[0][9:12])
        if status == 101 or status >= 200:
            fields = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in lines[1:-2]}
            return Head(status, fields)


def _sentence(page: bytes) -> str:
    """What a page of the edge says, without the marks around it."""
    return re.sub(r"<style>.*</style>|<[^>]*>|\s+", " ", page.decode("latin-1"))[:300].strip()


def host_of(plan: Plan) -> str:
    """The hostname that leads to the origin of a plan."""
    return "last.test" if plan.behaviour == "silent-last" else "http.test"


class Http1Visitor:
    """One request after the other."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._line = Line()
        self._before = "nothing"
        "What the connection carried before."
        self._began: float | None = None
        "When the last visit of the connection began."

    def excused_from(self) -> float | None:
        """When the visit before this one began, where it left the connection open.

        An edge that restarts closes it while the rest of that answer waits here to be read: a disturbance since then
        excuses the next failure.
        """
        return self._began if self._line.is_open else None

    async def visit(self, plan: Plan) -> None:
        """As `Visitor`."""
        if not self._line.is_open:
            self._before = "nothing"
            await self._line.open(self._places.http)
        self._began = asyncio.get_running_loop().time()
        reached(plan, "connected")
        self._line.write(self._head(plan))
        reached(plan, "head sent")
        sending = asyncio.create_task(self._send(plan), name="stress upload")
        try:
            await self._answer(plan, sending)
        finally:
            if not sending.done():
                sending.cancel()
            with contextlib.suppress(OSError, Failed, asyncio.CancelledError):
                await sending

    def _head(self, plan: Plan) -> bytes:
        method = "HEAD" if plan.behaviour == "head" else "POST" if plan.upload else "GET"
        lines = [f"{method} /{plan.behaviour}/{plan.number}/{plan.download} HTTP/1.1", f"Host: {host_of(plan)}"]
        if plan.upload:
            lines.append("Transfer-Encoding: chunked" if plan.chunked else f"Content-Length: {plan.upload}")
        return "\r\n".join([*lines, "", ""]).encode()

    async def _send(self, plan: Plan) -> None:
        if not plan.upload:
            return
        body = make_body(plan.number, plan.upload)
        half = len(body) // 2
        await self._piece(plan, body[:half])
        if plan.leave is not None and plan.leave.moment == "half sent":
            return
        await asyncio.sleep(plan.pause)
        await self._piece(plan, body[half:])
        if plan.chunked:
            self._line.write(b"0\r\n\r\n")

    async def _piece(self, plan: Plan, data: bytes) -> None:
        if plan.chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        await self._line.send(data)

    async def _answer(self, plan: Plan, sending: asyncio.Task[None]) -> None:
        if plan.leave is not None and plan.leave.moment in ("half sent", "sent"):
            with contextlib.suppress(OSError):  # it is not taken to its end: the answer says why
                await sending
                reached(plan, plan.leave.moment)
        status = 0
        try:
            head = await read_head(self._line.reader)
            status = head.status
            reached(plan, "head received")
            body = await self._body(plan, head)
        except (OSError, EOFError) as error:
            expect_failure(plan, f"cut off: {type(error).__name__}, status {status}, after {self._before}")
            await self._line.leave("close")
            return
        self._before = f"{status} to {plan}"
        # An upload that was not taken to its end before the answer's costs the connection, which no field announces.
        last = head.fields.get("connection", "").lower() == "close" or plan.behaviour.startswith("early")
        if last or not sending.done():
            await self._line.leave("close")
        self._judge(plan, head, body)

    async def _body(self, plan: Plan, head: Head) -> bytes:
        reader = self._line.reader
        if plan.behaviour == "head" or head.status in (204, 304):
            return b""
        if head.fields.get("transfer-encoding", "") == "chunked":
            await asyncio.sleep(plan.pause)
            data = bytearray()
            while size := int(await reader.readuntil(b"\r\n"), 16):
                data += (await reader.readexactly(size + 2))[:-2]
                reached(plan, "half received")
            await reader.readuntil(b"\r\n")
            return bytes(data)
        size = int(head.fields["content-length"])
        first = await reader.readexactly(size // 2)
        reached(plan, "half received")
        await asyncio.sleep(plan.pause)
        return first + await reader.readexactly(size - len(first))

    def _judge(self, plan: Plan, head: Head, body: bytes) -> None:
        if head.status != 200:
            expect_failure(plan, f"status {head.status}: {_sentence(body)}")
            return
        if plan.behaviour in FAILING:
            raise Wrong(f"{plan.number} got a whole answer from an origin that gave a part")
        if plan.behaviour == "head":
            if head.fields.get("x-number") != str(plan.number):
                raise Wrong(f"HEAD {plan.number} has the answer of {head.fields.get('x-number')}")
            return
        check_body(body, plan.number, whose="the answer to")

    async def leave(self, manner: str) -> None:
        """As `Visitor`."""
        await self._line.leave(manner)

    async def close(self) -> None:
        """As `Visitor`."""
        await self._line.leave("close")
