"""TCP visitors: a body up to the end of the stream, and one back; by hostname or to a private address."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from bench.stress.body import Wrong, check_body, make_body
from bench.stress.ledger import Failed
from bench.stress.visitors.base import Line, Places, expect_failure, reached

if TYPE_CHECKING:
    from bench.stress.plan import Plan


class TcpVisitor:
    """A connection for each visit."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._line = Line()

    async def visit(self, plan: Plan) -> None:
        """As `Visitor`."""
        await self._line.open(self._places.tcp if plan.kind == "tcp" else self._places.private)
        reached(plan, "connected")
        sending = asyncio.create_task(self._send(plan), name="stress upload")
        try:
            await self._answer(plan, sending)
        finally:
            sending.cancel()
            with contextlib.suppress(OSError, Failed, asyncio.CancelledError):
                await sending
        await self._line.leave("close")

    async def _send(self, plan: Plan) -> None:
        line = self._line
        line.write(f"{plan.behaviour} {plan.number} {plan.upload} {plan.download}\n".encode())
        if plan.leave is not None and plan.leave.moment == "head sent":
            return
        body = make_body(plan.number, plan.upload)
        await line.send(body[: len(body) // 2])
        if plan.leave is not None and plan.leave.moment == "half sent":
            return
        await asyncio.sleep(plan.pause)
        await line.send(body[len(body) // 2 :])
        line.write_eof()

    async def _answer(self, plan: Plan, sending: asyncio.Task[None]) -> None:
        if plan.leave is not None and plan.leave.moment in ("head sent", "half sent", "sent"):
            with contextlib.suppress(OSError):  # it is not taken to its end: the answer says why
                await sending
                reached(plan, plan.leave.moment)
        try:
            data = await self._line.reader.read(1)
            reached(plan, "head received")
            await asyncio.sleep(plan.pause)
            while piece := await self._line.reader.read(65_536):
                data += piece
                reached(plan, "half received")
        except OSError as error:
            expect_failure(plan, f"cut off: {type(error).__name__}")
            return
        if len(data) < plan.download:
            # TCP has no word for "cut": the visitor sees the end too soon.
            if data != make_body(plan.number, plan.download)[: len(data)]:
                raise Wrong(f"{len(data)} bytes of the answer to {plan.number} are not its beginning")
            expect_failure(plan, f"ended after {len(data)} bytes of {plan.download}")
            return
        check_body(data, plan.number, whose="the answer to")

    async def leave(self, manner: str) -> None:
        """As `Visitor`."""
        await self._line.leave(manner)

    async def close(self) -> None:
        """As `Visitor`."""
        await self._line.leave("close")
