"""WebSocket visitors: messages one after the other, each with its number and hash, and a closing handshake."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from bench.stress.body import SMALLEST, Wrong, check_body, make_body
from bench.stress.frames import BINARY, CLOSE, frame, read_frame
from bench.stress.ledger import Failed
from bench.stress.visitors.base import Line, Places, expect_failure, reached
from bench.stress.visitors.http1 import read_head

if TYPE_CHECKING:
    from bench.stress.plan import Plan

#: A closing frame's payload: 1000, a normal closure.
_NORMAL = b"\x03\xe8"
#: Messages sent ahead of the first echo.
_AHEAD = 4


class WebSocketVisitor:
    """A connection for each visit."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._line = Line()

    async def visit(self, plan: Plan) -> None:
        """As `Visitor`."""
        await self._line.open(self._places.http)
        reached(plan, "connected")
        try:
            await self._converse(plan)
        except (OSError, EOFError) as error:
            expect_failure(plan, f"cut off: {type(error).__name__}")
        await self._line.leave("close")

    async def _converse(self, plan: Plan) -> None:
        line = self._line
        line.write(
            f"GET /{plan.behaviour}/{plan.number}/0 HTTP/1.1\r\nHost: http.test\r\nConnection: Upgrade\r\n"
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {plan.number:022d}==\r\n\r\n".encode()
        )
        reached(plan, "head sent")
        head = await read_head(line.reader)
        reached(plan, "head received")
        if head.status != 101:
            if plan.behaviour != "refuse" or head.status != 403:
                expect_failure(plan, f"status {head.status}")
            return
        if plan.behaviour == "refuse":
            raise Wrong(f"{plan.number} got a WebSocket that its origin refused")
        await self._echo(plan)
        line.write(frame(CLOSE, _NORMAL, b"abcd"))
        opcode, payload = await read_frame(line.reader)
        if (opcode, payload) != (CLOSE, _NORMAL):
            raise Wrong(f"{plan.number} closed and got opcode {opcode} with {len(payload)} bytes")
        if surplus := await line.reader.read(100):
            raise Wrong(f"{plan.number} got {surplus!r} behind the closing frame")

    async def _echo(self, plan: Plan) -> None:
        dice = random.Random(plan.number)
        sizes = [dice.choice((SMALLEST, 200, 5_000, 70_000)) for _ in range(plan.messages)]
        sent = 0
        for number in range(len(sizes)):
            while sent < min(number + _AHEAD, len(sizes)):
                await self._line.send(
                    frame(BINARY, make_body(plan.number + (sent << 48), sizes[sent]), b"\x01\x82\xf3\x04")
                )
                sent += 1
            reached(plan, "half sent" if number < len(sizes) // 2 else "sent")
            opcode, payload = await read_frame(self._line.reader)
            if opcode == CLOSE:
                raise Failed(f"closed at message {number}: {payload!r}")
            check_body(payload, plan.number + (number << 48), whose="the message of")
            reached(plan, "half received")

    async def leave(self, manner: str) -> None:
        """As `Visitor`."""
        await self._line.leave(manner)

    async def close(self) -> None:
        """As `Visitor`."""
        await self._line.leave("close")
