"""What stands beside each request of a visitor: who it is (the gate), and what is recorded of it at its end.

Where there is nothing of Access and no audit log, `Watch.on` is all that is asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyconnector.edge.access.answers import unrecorded
from pyconnector.edge.access.gate import Gate, Passed, Pending, Stopped, Visit
from pyconnector.edge.audit.counted import CountedStream
from pyconnector.edge.audit.record import Ended, record_of
from pyconnector.edge.visitors.forwarding import host_name, normal_host

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.edge.access.answers import Answer
    from pyconnector.edge.access.running import Running
    from pyconnector.edge.audit.log import AuditLog
    from pyconnector.edge.audit.reported import Reported
    from pyconnector.edge.connectors.exchange import Exchange
    from pyconnector.edge.connectors.management import OneConnector
    from pyconnector.edge.connectors.tunnels import Tunnel
    from pyconnector.edge.visitors.http1.request_parser import VisitorRequest

    Headers = list[tuple[bytes, bytes]]

#: What is recorded of a stream's end, where it is known.
CLIENT_CLOSED, ORIGIN_CLOSED, UNREACHABLE = "CLIENT_CLOSED", "ORIGIN_CLOSED", "ORIGIN_UNREACHABLE"
REFUSED, REVOKED = "PROXY_CONN_REFUSED", "REVOKED"


class Watch:
    """What an edge's visitors of every kind share."""

    def __init__(
        self, gate: Gate, audit: AuditLog | None = None, location: str = "", reported: Reported | None = None
    ) -> None:
        self.gate = gate
        self.audit = audit
        self.location = location
        self.reported = reported

    @property
    def on(self) -> bool:
        """Whether requests are looked at at all."""
        return self.audit is not None or self.gate.active

    def request(self, request: VisitorRequest, address: str, ray: str) -> Watched:
        """Judge an HTTP request; its headers are then those that go on."""
        watched = Watched(
            self,
            "WEBSOCKET" if request.websocket else "HTTP",
            Visit(
                method=request.method, host=host_name(request.host), target=request.target.decode("latin-1"),
                headers=request.headers, address=address, ray=ray, scheme=request.scheme,
                authority=normal_host(request.host, request.scheme), websocket=request.websocket,
            ),
            request.version,
        )  # fmt: skip
        request.headers = watched.headers
        return watched

    def tcp(self, host: str, address: str, ray: str) -> Watched:
        """Judge a TCP stream, which shows nobody; one to an address is only recorded."""
        return Watched(self, "TCP", Visit(method="", host=host, target="/", headers=[], address=address, ray=ray), "")

    def check_time(self) -> None:
        """End what came to its time. Called every now and then."""
        if self.gate.active:
            self.gate.running.end_expired(self.gate.clock())


class Watched:
    """One request, from its judgement to its end."""

    __slots__ = (
        "_abort", "_begun", "_connector", "_counted", "_extra_sent", "_running", "_ticks", "_tunnel", "_unserved",
        "_version",
        "_watch", "answer", "close_reason", "headers", "protocol", "status", "verdict", "visit",
    )  # fmt: skip

    def __init__(self, watch: Watch, protocol: str, visit: Visit, version: str) -> None:
        gate = watch.gate
        self._watch = watch
        self._version = version
        self._begun, self._ticks = gate.clock(), gate.ticks()
        self._running: Running | None = None
        self._counted: CountedStream | None = None
        self._extra_sent = 0
        self._tunnel = self._connector = ""
        self._abort: Callable[[], None] = lambda: None
        self.protocol = protocol
        self.visit = visit
        self.status = 0
        "What the visitor was told; 0 where it was told nothing."
        self.close_reason = ""
        self.verdict: Passed | Stopped | Pending | None = gate.judge(visit) if gate.active else None
        self.answer: Answer | None = self.verdict.answer if isinstance(self.verdict, Stopped) else None
        self.headers: Headers = self.verdict.headers if isinstance(self.verdict, Passed) else visit.headers
        self._unserved = watch.audit is not None and watch.audit.refuses
        if self._unserved and self.answer is None:
            self.answer = unrecorded(visit.ray)
        if self.answer is not None:
            self.status, self.close_reason = self.answer.status, REFUSED

    @property
    def pending(self) -> Pending | None:
        """What is answered here once its body was read; None for all others."""
        return self.verdict if self.answer is None and isinstance(self.verdict, Pending) else None

    async def settle(self, pending: Pending, body: bytes) -> Answer:
        """Return the answer to what was pending. Cancel gives it up."""
        verdict = self.verdict = await pending.answer(body)
        self.answer, self.status, self.close_reason = verdict.answer, verdict.answer.status, REFUSED
        return verdict.answer

    def begin(self, abort: Callable[[], None]) -> None:
        """It goes on; `abort` cuts it off, should whoever asks no longer be allowed to."""
        if isinstance(self.verdict, Passed):
            self._abort = abort
            self._running = self._watch.gate.begin(self.visit, self.verdict, self._revoked)

    def opened(self, exchange: Exchange, tunnel: Tunnel | OneConnector | None, first: int) -> None:
        """A connector has it, with the first so many bytes of its body."""
        if self._watch.audit is None:
            return
        self._tunnel = "" if tunnel is None else str(tunnel.tunnel_id)
        self._connector = exchange.connector
        self._extra_sent = first
        counted = self._counted = CountedStream(exchange.stream)
        exchange.stream = exchange.body = counted  # type: ignore[assignment]  # it is one in all but its class

    def answered(self, status: int, exchange: Exchange) -> None:
        """The service answered: what came so far was the head, but for what is left over."""
        self.status = status
        if self._counted is not None:
            self._counted.received = len(exchange.leftover)

    def end(self) -> None:
        """It is over."""
        if self._running is not None:
            self._watch.gate.running.remove(self._running)
        audit, reported, login = self._watch.audit, self._watch.reported, self._is_login()
        if audit is None and not login:
            return
        record = record_of(self._ended())
        if audit is not None:
            audit.put(record, unserved=self._unserved)
        if login and reported is not None:
            reported.login(record)

    def _is_login(self) -> bool:
        verdict, reported = self.verdict, self._watch.reported
        if reported is None or verdict is None or verdict.application is None:
            return False
        token, decision = verdict.caller.token, verdict.decision
        who = verdict.caller.email if token is None else token.client_id
        return reported.is_login(verdict.application.id, who, self.visit.address, allowed=decision.allowed)

    def _revoked(self) -> None:
        self.close_reason = REVOKED
        self._abort()

    def _ended(self) -> Ended:
        gate, visit, verdict, counted = self._watch.gate, self.visit, self.verdict, self._counted
        organization = gate.state.organization
        decision = None if verdict is None else verdict.decision
        return Ended(
            begun=self._begun, seconds=max(0.0, gate.ticks() - self._ticks), protocol=self.protocol, ray=visit.ray,
            method=visit.method, host=visit.host, path=visit.path, version=self._version,
            agent=_agent(visit.headers), address=visit.address, status=self.status,
            sent=self._extra_sent + (counted.sent if counted is not None else 0),
            received=counted.received if counted is not None else 0,
            account="" if organization is None else organization.account_id, location=self._watch.location,
            tunnel=self._tunnel, connector=self._connector, close_reason=self.close_reason,
            token=None if verdict is None else verdict.caller.token,
            caller=None if verdict is None else verdict.caller,
            application=None if verdict is None else verdict.application, decision=decision,
        )  # fmt: skip


def _agent(headers: Headers) -> str:
    for name, value in headers:
        if len(name) == 10 and name.lower() == b"user-agent":
            return value[:256].decode("latin-1")
    return ""
