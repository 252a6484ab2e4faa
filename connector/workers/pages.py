"""What the metrics server shows of a connector in several processes: one page of each kind for all."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING

from pyconnector.connector.observe.server.metrics_server import JSON_TYPE, TEXT_TYPE, Answer, Page, metrics_answer
from pyconnector.connector.observe.server.status_pages import common_pages
from pyconnector.connector.workers.link import LinkLost
from pyconnector.connector.workers.messages import Collect, ShowConfiguration

if TYPE_CHECKING:
    from pyconnector.connector.workers.fleet import Fleet
    from pyconnector.connector.workers.merged_metrics import MergedMetrics
    from pyconnector.connector.workers.messages import Families
    from pyconnector.connector.workers.roster import Roster

#: Seconds that a worker has for an answer; its last figures stand in for those that it does not give in time.
ANSWER_SECONDS = 2.0


class FleetPages:
    """Makes each page when it is asked for."""

    def __init__(self, fleet: Fleet, roster: Roster) -> None:
        self._roster = roster
        self._merged: MergedMetrics | None = None
        self.pages: dict[str, Page] = {
            **common_pages(fleet),
            "/metrics": self._metrics,
            "/config": self._config,
        }

    def gone(self, number: int) -> None:
        """The process of a worker is gone."""
        if self._merged is not None:
            self._merged.retire(number)

    async def _metrics(self) -> Answer:
        return metrics_answer(await self.figures())

    async def figures(self) -> bytes:
        """The figures of all workers and of the main process, as text. Cancel at any time."""
        from pyconnector.connector.observe.metrics import exposition  # only once somebody watches: the library is large
        from pyconnector.connector.workers.merged_metrics import MergedMetrics

        if self._merged is None:
            self._merged = MergedMetrics()
        await asyncio.gather(*[self._collect(number, self._merged) for number in self._roster.members])
        return exposition(self._merged.families(self._own()))

    async def _collect(self, number: int, merged: MergedMetrics) -> None:
        member = self._roster.members[number]
        try:
            families = await member.ask(Collect(), ANSWER_SECONDS)
        except LinkLost:
            return
        if families and self._roster.members.get(number) is member:
            merged.update(number, families)

    def _own(self) -> Families:
        """The main process's own figures."""
        from prometheus_client import CollectorRegistry, ProcessCollector

        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        own: Families = [
            (
                metric.name,
                metric.documentation,
                metric.type,
                [(s.name, dict(s.labels), s.value) for s in metric.samples],
            )
            for metric in registry.collect()
        ]
        running, restarts = len(self._roster.members), self._roster.restarts
        own.append(("pyconnector_workers", "Worker processes running", "gauge", [("pyconnector_workers", {}, running)]))
        name = "pyconnector_worker_restarts"
        own.append((name, "Worker processes started again after they died", "counter", [(name, {}, restarts)]))
        return own

    async def _config(self) -> Answer:
        for member in tuple(self._roster.members.values()):
            try:
                text = await member.ask(ShowConfiguration(), ANSWER_SECONDS)
            except LinkLost:
                continue
            if text:
                return HTTPStatus.OK, JSON_TYPE, text + b"\n"
        return HTTPStatus.SERVICE_UNAVAILABLE, TEXT_TYPE, b"no worker is running\n"
