"""Who visits: so many at once of each kind, one visit after the other, each with a deadline."""

from __future__ import annotations

import asyncio
import random
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.stress.body import Wrong
from bench.stress.ledger import Failed, Ledger
from bench.stress.plan import KINDS, Plan, make_plan
from bench.stress.visitors.base import Left, Visitor
from bench.stress.visitors.http1 import Http1Visitor
from bench.stress.visitors.http2 import Http2Visitor
from bench.stress.visitors.tcp import TcpVisitor
from bench.stress.visitors.websocket import WebSocketVisitor

if TYPE_CHECKING:
    from bench.stress.house import House
    from bench.stress.patience import Patience

#: Visitors of each kind at once.
CROWD = {"http1": 16, "http2": 4, "ws": 8, "tcp": 6, "private": 4, "grpc": 4}
#: Streams at once on one HTTP/2 connection, at the most.
STREAMS = 6
#: Seconds (of `Patience`) that a visit may take. Every one ends long before; one that does not, hangs.
DEADLINE = 30.0
#: Seconds that a visitor waits after a failure, so that a house that is away is not run down.
_PAUSE = 0.02
assert set(CROWD) == set(KINDS)


@dataclass(slots=True)
class Crowd:
    """Visitors of some kinds, who come as long as `goes_on` says so."""

    house: House
    ledger: Ledger
    seed: int
    leavers: float
    patience: Patience
    kinds: tuple[str, ...]
    goes_on: Callable[[], bool]
    first: int = 0
    "The number of the first visit of each: a second crowd begins where the first one ended."

    async def run(self) -> int:
        """Let them come. Returns the number of the first visit that none has begun. Cancel leaves none behind."""
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._come_again(kind, number), name=f"stress visitor {kind}")
                for kind in self.kinds
                for number in range(CROWD[kind])
            ]
        return max(task.result() for task in tasks)

    async def _come_again(self, kind: str, worker: int) -> int:
        visitor = self._visitor(kind)
        index = self.first
        while self.goes_on():
            if isinstance(visitor, Http2Visitor):
                await self._together(visitor, kind, worker, index)
            else:
                plan = make_plan(self.seed, kind, worker, index, leavers=self.leavers)
                if not await self._one(visitor, plan):
                    await visitor.close()
            index += 1
        await visitor.close()
        return index

    def _visitor(self, kind: str) -> Http1Visitor | WebSocketVisitor | TcpVisitor | Http2Visitor:
        places = self.house.places
        if kind == "http1":
            return Http1Visitor(places)
        if kind == "ws":
            return WebSocketVisitor(places)
        if kind in ("tcp", "private"):
            return TcpVisitor(places)
        return Http2Visitor(places)

    async def _together(self, visitor: Http2Visitor, kind: str, worker: int, index: int) -> None:
        count = random.Random(f"{self.seed}/{kind}/{worker}/{index}").randint(1, STREAMS)
        plans = [
            make_plan(self.seed, kind, worker, index, leavers=self.leavers, stream=number) for number in range(count)
        ]
        breaks = next((plan for plan in plans if plan.leave and plan.leave.manner == "reset"), None)
        if breaks is not None:
            plans = [breaks]
        began = asyncio.get_running_loop().time()
        try:
            await visitor.ready()
        except OSError as error:
            self.ledger.ended(plans[0], began, Failed(f"no connection: {error}"), left=False)
            await asyncio.sleep(_PAUSE)
            return
        async with asyncio.TaskGroup() as group:
            for plan in plans:
                group.create_task(self._one(visitor.stream(), plan), name=f"stress stream {kind}")
        if breaks is not None:
            await visitor.close()

    async def _one(self, visitor: Visitor, plan: Plan) -> bool:
        """Carry out a plan and record what came of it; False where the visitor's connection may be of no more use."""
        began = asyncio.get_running_loop().time()
        excused_from = visitor.excused_from() if isinstance(visitor, Http1Visitor) else None
        failure: Exception | None = None
        left = False
        try:
            left = await self._until_leaving(visitor.visit(plan), plan)
        except Left:
            left = True
        except (OSError, EOFError, Failed, Wrong) as error:  # OSError has TimeoutError too
            failure = error
        except Exception as error:  # noqa: BLE001 - a defect of the harness, or an answer that no visitor understands
            where = traceback.extract_tb(error.__traceback__)[-1]
            failure = Wrong(f"{type(error).__name__} in {where.name}, line {where.lineno}: {error}")
        if left and plan.leave is not None:
            await visitor.leave(plan.leave.manner)
        self.ledger.ended(plan, began, failure, left=left, excused_from=excused_from)
        if failure is not None:
            await asyncio.sleep(_PAUSE)
        return failure is None

    async def _until_leaving(self, visit: Awaitable[None], plan: Plan) -> bool:
        if plan.leave is None or not plan.leave.after:
            async with self.patience.at_most(DEADLINE):
                await visit
            return False
        try:
            async with asyncio.timeout(plan.leave.after):
                await visit
        except TimeoutError:
            return True
        return False
