"""Decides about one flow: who, where to, whether; and holds running flows to it (mesh.md 6)."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from pyconnector.edge.private.gateway.records import CloseReason
from pyconnector.edge.private.network import DEFAULT_NETWORK, Destination, Unroutable
from pyconnector.identity.network_rules import NetworkDecision, NetworkFlow, decide
from pyconnector.protocol.proxying.handshake import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyconnector.edge.private.gateway.authenticator import Authenticator
    from pyconnector.edge.private.gateway.records import FlowRecord
    from pyconnector.edge.private.network import PrivateNetwork
    from pyconnector.identity.network_rules import NetworkRule
    from pyconnector.identity.service_tokens import ServiceToken

Address: TypeAlias = IPv4Address | IPv6Address
#: Flows that one token may have at once.
MAX_FLOWS_PER_TOKEN: Final = 1_000


class Refused(Exception):
    """A flow may not be, or cannot. The text is one sentence for the client."""

    def __init__(self, verdict: Verdict, reason: CloseReason, text: str) -> None:
        super().__init__(text)
        self.verdict = verdict
        self.reason = reason


class RunningFlow(Protocol):
    """A flow that goes on, as far as the judge must know it."""

    record: FlowRecord

    def cut_off(self, reason: CloseReason, detail: str) -> None:
        """End it at once."""


@dataclass(slots=True, kw_only=True, eq=False)
class Judge:
    """Knows tokens and rules, and every running flow."""

    network: PrivateNetwork
    authenticator: Authenticator
    rules: tuple[NetworkRule, ...] = ()
    own_addresses: tuple[Address, ...] = ()
    "Where the edge itself can be reached."
    _running: set[RunningFlow] = field(default_factory=set)
    _counts: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._running)

    def authenticate(self, client_id: str, secret: str, record: FlowRecord) -> ServiceToken:
        """Return the token of a client.

        Raises:
            Refused: it is none.
        """
        record.claimed = client_id
        token = self.authenticator.authenticate(client_id, secret)
        if token is None:
            raise Refused(Verdict.UNAUTHENTICATED, CloseReason.REFUSED, "The client id or its secret is not valid.")
        record.token = token
        return token

    async def admit(self, record: FlowRecord, host: str, port: int, virtual_network: str) -> Destination:
        """Return where a flow of an authenticated client goes. Cancel at any time.

        Raises:
            Refused: no rule allows it, or no route leads there. Who is not allowed does not learn which.
        """
        assert record.token is not None
        record.wanted, record.virtual_network = (host, port), virtual_network or DEFAULT_NETWORK
        try:
            destination = await self.network.find(host, port, virtual_network)
        except Unroutable as exc:
            record.decision = self._decide(record, _literal(host), _name(host), port, "")
            if not record.decision.allowed:
                raise Refused(Verdict.FORBIDDEN, CloseReason.REFUSED, "No network rule allows this.") from exc
            raise Refused(Verdict.UNROUTABLE, CloseReason.UNROUTABLE, str(exc)) from exc
        record.destination = destination
        record.virtual_network = self.network.network_name(destination)
        record.decision = self._decide_about(record, destination)
        if not record.decision.allowed:
            raise Refused(Verdict.FORBIDDEN, CloseReason.REFUSED, "No network rule allows this.")
        if self._counts.get(record.token.client_id, 0) >= MAX_FLOWS_PER_TOKEN:
            raise Refused(Verdict.BUSY, CloseReason.TOO_MANY, f"This token has {MAX_FLOWS_PER_TOKEN} flows already.")
        return destination

    def started(self, flow: RunningFlow) -> None:
        """A flow that was admitted goes on from now."""
        assert flow.record.token is not None
        self._running.add(flow)
        client_id = flow.record.token.client_id
        self._counts[client_id] = self._counts.get(client_id, 0) + 1

    def ended(self, flow: RunningFlow) -> None:
        """It ended. Idempotent."""
        if flow not in self._running:
            return
        self._running.discard(flow)
        assert flow.record.token is not None
        client_id = flow.record.token.client_id
        self._counts[client_id] -= 1
        if not self._counts[client_id]:
            del self._counts[client_id]

    def look_again(self) -> None:
        """Cut off every running flow whose token, rule or route is gone."""
        for flow in tuple(self._running):
            if why := self._objection(flow.record):
                flow.cut_off(CloseReason.REFUSED, why)

    def cut_off_all(self, flows: Iterable[RunningFlow] | None = None) -> None:
        """End every flow: the edge stops."""
        for flow in tuple(self._running if flows is None else flows):
            flow.cut_off(CloseReason.UNKNOWN, "the edge stops")

    def _objection(self, record: FlowRecord) -> str:
        token, destination = record.token, record.destination
        assert token is not None
        assert destination is not None
        now = self.authenticator.current(token.client_id)
        if now is None:
            return "the token was revoked"
        record.token = now
        if not self.network.still_leads(destination):
            return "the route is gone"
        decision = self._decide_about(record, destination)
        return "" if decision.allowed else "the rules changed"

    def _decide_about(self, record: FlowRecord, destination: Destination) -> NetworkDecision:
        return self._decide(record, destination.address, destination.name, destination.port, destination.network)

    def _decide(self, record: FlowRecord, address: Address | None, name: str, port: int, route: str) -> NetworkDecision:
        assert record.token is not None
        flow = NetworkFlow(
            token=record.token, address=address, name=name, port=port, protocol=record.protocol,
            virtual_network=record.virtual_network, route=ip_network(route) if route and not name else None,
        )  # fmt: skip
        return decide(self.rules, flow, self.own_addresses)


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _name(host: str) -> str:
    return "" if _literal(host) is not None else host.lower().removesuffix(".")
