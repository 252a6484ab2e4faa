"""What stands beside each request of a visitor: who it is (the gate), and what is told of it at its end.

Where there is nothing of Access and no audit, `Watch.on` is all that is asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyconnector.edge.access.gate import Gate, Passed, Stopped, Visit
from pyconnector.edge.visitors.forwarding import host_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.edge.access.answers import Answer
    from pyconnector.edge.access.running import Running
    from pyconnector.edge.visitors.http1.request_parser import VisitorRequest

    Headers = list[tuple[bytes, bytes]]


class Watch:
    """What an edge's visitors of every kind share."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    @property
    def on(self) -> bool:
        """Whether requests are looked at at all."""
        return self.gate.active

    def request(self, request: VisitorRequest, address: str, ray: str) -> Watched:
        """Judge an HTTP request; its headers are then those that go on."""
        watched = Watched(
            self,
            Visit(
                method=request.method, host=host_name(request.host), target=request.target.decode("latin-1"),
                headers=request.headers, address=address, ray=ray,
            ),
        )  # fmt: skip
        request.headers = watched.headers
        return watched

    def tcp(self, host: str, address: str, ray: str) -> Watched:
        """Judge a TCP stream to a hostname, which is carried by a WebSocket of the edge's own."""
        return Watched(self, Visit(method="GET", host=host, target="/", headers=[], address=address, ray=ray))

    def check_time(self) -> None:
        """End what came to its time. Called every now and then."""
        if self.on:
            self.gate.running.end_expired(self.gate.clock())


class Watched:
    """One request, from its judgement to its end."""

    __slots__ = ("_running", "_watch", "answer", "headers", "verdict", "visit")

    def __init__(self, watch: Watch, visit: Visit) -> None:
        self._watch = watch
        self._running: Running | None = None
        self.visit = visit
        self.verdict: Passed | Stopped | None = watch.gate.judge(visit) if watch.gate.active else None
        self.answer: Answer | None = self.verdict.answer if isinstance(self.verdict, Stopped) else None
        self.headers: Headers = self.verdict.headers if isinstance(self.verdict, Passed) else visit.headers

    def begin(self, abort: Callable[[], None]) -> None:
        """It goes on; `abort` cuts it off, should whoever asks no longer be allowed to."""
        if isinstance(self.verdict, Passed):
            self._running = self._watch.gate.begin(self.visit, self.verdict, abort)

    def end(self) -> None:
        """It is over."""
        if self._running is not None:
            self._watch.gate.running.remove(self._running)
