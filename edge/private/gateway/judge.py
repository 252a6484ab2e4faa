"""Decides about one flow: who, where to, whether; and holds running flows to it (mesh.md 6).

Who somebody is, which rules there are and what changes is asked of the gate of the whole edge: there are no other
tokens, and there is no other revocation, than those of `edge.access`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from pyconnector.edge.access.answers import SENTENCES
from pyconnector.edge.access.credentials import Pair, Token
from pyconnector.edge.access.running import RunningSet
from pyconnector.edge.private.gateway.records import CloseReason
from pyconnector.edge.private.network import DEFAULT_NETWORK, Destination, Unroutable
from pyconnector.identity.network_rules import NetworkDecision, NetworkFlow, decide
from pyconnector.identity.policies.policy import Reason
from pyconnector.identity.policies.rules import Caller
from pyconnector.protocol.proxying.handshake import AccessToken, Verdict
from pyconnector.web.http2.budget import Budget

if TYPE_CHECKING:
    from pyconnector.edge.access.devices import DeviceEntry
    from pyconnector.edge.access.gate import Gate
    from pyconnector.edge.access.identify import Identified
    from pyconnector.edge.access.people import IdentifiedPerson
    from pyconnector.edge.private.gateway.records import FlowRecord, Records
    from pyconnector.edge.private.network import PrivateNetwork
    from pyconnector.protocol.proxying.handshake import Credentials

Address: TypeAlias = IPv4Address | IPv6Address
#: Flows that one token may have at once.
MAX_FLOWS_PER_TOKEN: Final = 1_000
#: Flows that one token may ask for: at once, and each second. What goes beyond is refused, with one record a second.
NEW_FLOWS, NEW_FLOWS_A_SECOND = 5_000, 1_000.0
#: Tokens whose new flows are counted.
MAX_COUNTED: Final = 10_000
#: What an Access token that is narrowed to methods or a path has to cover.
METHOD, PATH = "CONNECT", "/"


class Refused(Exception):
    """A flow may not be, or cannot. The text is one sentence for the client."""

    def __init__(self, verdict: Verdict, reason: CloseReason, text: str, code: str = "") -> None:
        super().__init__(text)
        self.verdict = verdict
        self.reason = reason
        self.code = code
        "For the record; empty where a rule decided."


def note_refusal(record: FlowRecord, refused: Refused) -> None:
    """Let a record say why its flow was refused."""
    record.reason, record.verdict, record.detail = refused.reason, refused.code, str(refused)


class RunningFlow(Protocol):
    """A flow that goes on, as far as the judge must know it."""

    record: FlowRecord

    def cut_off(self, reason: CloseReason, detail: str) -> None:
        """End it at once."""


@dataclass(slots=True, eq=False)
class _Held:
    """A running flow in the set of those."""

    flow: RunningFlow
    expires: float
    versions: tuple[float, ...]
    "From when on what was issued counted, for the service token and the application, when it was admitted."
    why: str = "the credentials have expired"

    @property
    def abort(self) -> Callable[[], None]:
        return lambda: self.flow.cut_off(CloseReason.REFUSED, self.why)


class NewFlows:
    """How many flows a token asks for."""

    __slots__ = ("_told", "budget")

    def __init__(self) -> None:
        self.budget = Budget(NEW_FLOWS, NEW_FLOWS_A_SECOND)
        self._told = -1.0

    def is_first(self, now: float) -> bool:
        """Return whether no other of this second was refused before."""
        first = now - self._told >= 1.0
        if first:
            self._told = now
        return first


@dataclass(slots=True, eq=False)
class Judge:
    """Knows every running flow, and asks the gate about everybody."""

    network: PrivateNetwork
    gate: Gate
    records: Records
    audiences: frozenset[str] = frozenset()
    "Of the applications whose tokens are credentials here."
    own_addresses: tuple[Address, ...] = ()
    "Where the edge itself can be reached."
    running: RunningSet[_Held] = field(init=False)
    _held: dict[RunningFlow, _Held] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)
    _new: OrderedDict[str, NewFlows] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        self.running = RunningSet(self._may_go_on)
        self.gate.listeners.append(self.running.judge_anew)
        self.network.routes.on_change = self.running.judge_anew

    def __len__(self) -> int:
        return len(self._held)

    def close(self) -> None:
        """End every flow, and listen to changes no more: the edge stops. Idempotent."""
        if self.running.judge_anew in self.gate.listeners:
            self.gate.listeners.remove(self.running.judge_anew)
        for flow in tuple(self._held):
            flow.cut_off(CloseReason.UNKNOWN, "the edge stops")

    def authenticate(self, shown: Credentials | AccessToken, record: FlowRecord) -> Identified | IdentifiedPerson:
        """Return who a client is: a service token by its secret, or whom a token was issued for, a person too.

        Raises:
            Refused: nobody who is known and alive, or a token for something else.
        """
        if isinstance(shown, AccessToken):
            found = self.gate.who(Token(shown.text), record.source[0])
        else:
            record.claimed = shown.client_id
            if not shown.client_id and not shown.secret:
                raise _unknown(Reason.NO_CREDENTIALS)
            found = self.gate.who(Pair(shown.client_id, shown.secret), record.source[0])
        if isinstance(found, Reason):
            record.silent = found is Reason.TOO_MANY  # the failures that led there have records
            raise _unknown(found)
        application = found.application
        if application is not None:
            if application.audience not in self.audiences:
                raise _unknown(Reason.BAD_TOKEN)
            record.identified = found
            if not found.covers(METHOD, PATH):
                raise _unknown(Reason.OUT_OF_SCOPE)
            decision = self.gate.decide(application, found.caller(_literal(record.source[0])))
            if not decision.allowed:
                raise _unknown(decision.reason)
        record.identified = found
        self._note_device(record, found)
        return found

    def device_of(self, found: Identified | IdentifiedPerson) -> DeviceEntry | None:
        """Return the device record of whatever shows a service token; its Mesh address is `address`."""
        return None if found.token is None else self.gate.state.devices.of_token(found.token.id)

    async def admit(self, record: FlowRecord, host: str, port: int, virtual_network: str) -> Destination:
        """Return where a flow of an authenticated client goes. Cancel at any time.

        Raises:
            Refused: no rule allows it, or no route leads there. Who is not allowed does not learn which.
        """
        assert record.identified is not None
        self._note_device(record, record.identified)
        record.wanted, record.virtual_network = (host, port), virtual_network or DEFAULT_NETWORK
        self.count_new(record)
        if self.records.refuses:
            raise Refused(
                Verdict.BUSY, CloseReason.REFUSED, "This edge cannot record flows now, and serves none unrecorded.",
                "audit_unavailable",
            )  # fmt: skip
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
        if self._counts.get(record.actor, 0) >= MAX_FLOWS_PER_TOKEN:
            raise Refused(
                Verdict.BUSY, CloseReason.TOO_MANY, f"This token has {MAX_FLOWS_PER_TOKEN} flows already.",
                "too_many_flows",
            )  # fmt: skip
        return destination

    def count_new(self, record: FlowRecord) -> None:
        """Count a flow that an authenticated client asks for.

        Raises:
            Refused: it asks for too many.
        """
        actor, now = record.actor, self.gate.ticks()
        new = self._new.pop(actor, None) or NewFlows()
        self._new[actor] = new
        if len(self._new) > MAX_COUNTED:
            self._new.popitem(last=False)
        if not new.budget.spend(now):
            record.silent = not new.is_first(now)
            raise Refused(
                Verdict.BUSY, CloseReason.TOO_MANY_NEW, "This token asks for too many flows: wait a moment.",
                "too_many_new_flows",
            )  # fmt: skip

    def started(self, flow: RunningFlow) -> None:
        """A flow that was admitted goes on from now."""
        found = flow.record.identified
        assert found is not None
        held = self._held[flow] = _Held(flow, found.expires, _versions(found))
        self.running.add(held)
        actor = flow.record.actor
        self._counts[actor] = self._counts.get(actor, 0) + 1
        # Whoever it is may have been revoked while the destination was looked up.
        if not self._may_go_on(held):
            self.running.remove(held)
            held.abort()

    def ended(self, flow: RunningFlow) -> None:
        """It ended. Idempotent."""
        held = self._held.pop(flow, None)
        if held is None:
            return
        self.running.remove(held)
        actor = flow.record.actor
        self._counts[actor] -= 1
        if not self._counts[actor]:
            del self._counts[actor]

    def change_own_addresses(self, own: tuple[Address, ...]) -> None:
        """Let the edge be reached at these from now on; flows to a new one end."""
        if own != self.own_addresses:
            self.own_addresses = own
            self.running.judge_anew()

    def check_time(self) -> None:
        """End what came to its time. Called every now and then."""
        self.running.end_expired(self.gate.clock())

    def _may_go_on(self, held: _Held) -> bool:
        objection = self._objection(held)
        held.why = objection or held.why
        return not objection

    def _objection(self, held: _Held) -> str:
        record = held.flow.record
        found, destination = record.identified, record.destination
        assert found is not None
        if found.token is None:
            objection = self._objection_to_person(held, found)
        else:
            objection = self._objection_to_token(held, found)
        if objection:
            return objection
        if destination is None:  # a tunnel, whose flows are judged by themselves
            return ""
        if not self.network.still_leads(destination):
            return "the route is gone"
        return "" if self._decide_about(record, destination).allowed else "the rules changed"

    def _objection_to_person(self, held: _Held, found: IdentifiedPerson) -> str:
        record, person = held.flow.record, found.person
        if not self.gate.state.is_live(person.email, person.provider, person.nonce, person.begun):
            return "the session has ended"
        application = self.gate.state.applications.of_audience(found.application.audience)
        caller = found.caller(_literal(record.source[0]))
        if application is None or not self.gate.decide(application, caller).allowed:
            return "the application no longer lets them pass"
        found = record.identified = found.renewed(application)
        return "" if _versions(found) == held.versions else "the session was revoked"

    def _objection_to_token(self, held: _Held, found: Identified) -> str:
        record = held.flow.record
        token = self.gate.state.token(found.token.id)
        if token is None or not token.lives(self.gate.clock()) or token.client_id != found.token.client_id:
            return "the token was revoked"
        application = found.application
        if application is not None:
            application = self.gate.state.applications.of_audience(application.audience)
            caller = Caller(address=_literal(record.source[0]), token=token)
            if application is None or not self.gate.decide(application, caller).allowed:
                return "the application no longer lets it pass"
        if not self._renew_device(record):
            return "the device was revoked"
        found = record.identified = found.renewed(token, application)
        return "" if _versions(found) == held.versions else "the token was revoked"

    def _note_device(self, record: FlowRecord, found: Identified | IdentifiedPerson) -> None:
        # One that came over WireGuard is known already, by its port.
        record.device = record.device or self.device_of(found)
        if record.device is not None and not record.device.enabled:
            raise _unknown(Reason.REVOKED)

    def _renew_device(self, record: FlowRecord) -> bool:
        """Let a record know its device as it is now; False where that may reach nothing."""
        before = record.device
        if before is None:
            return True
        device = self.gate.state.devices.get(before.id)
        if device is None or not device.enabled or (device.address, device.token_id, device.wireguard) != (
            before.address, before.token_id, before.wireguard
        ):  # fmt: skip
            return False
        record.device = device
        return True

    def _decide_about(self, record: FlowRecord, destination: Destination) -> NetworkDecision:
        return self._decide(record, destination.address, destination.name, destination.port, destination.network)

    def _decide(self, record: FlowRecord, address: Address | None, name: str, port: int, route: str) -> NetworkDecision:
        assert record.identified is not None
        person = record.identified.person
        flow = NetworkFlow(
            token=record.token, email="" if person is None else person.email, address=address, name=name,
            port=port, protocol=record.protocol,
            virtual_network=record.virtual_network,
            source=record.device.address if record.device is not None else None,
            route=ip_network(route) if route and not name else None,
        )  # fmt: skip
        return decide(self.gate.state.network_rules, flow, self.own_addresses)


def _unknown(reason: Reason) -> Refused:
    verdict = Verdict.TOO_MANY if reason is Reason.TOO_MANY else Verdict.UNAUTHENTICATED
    text = "Show who you are: a service token is needed." if reason is Reason.NO_CREDENTIALS else SENTENCES[reason]
    return Refused(verdict, CloseReason.REFUSED, text, reason.value)


def _versions(found: Identified | IdentifiedPerson) -> tuple[float, ...]:
    # A secret that was shown is as good after the tokens that were issued for it earlier are not; but whoever held the
    # secret before it was changed is not let go on either, as at the gate of HTTP.
    begin = 0.0 if found.token is None else found.token.valid_after
    return (begin, 0.0 if found.application is None else found.application.valid_after)


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _name(host: str) -> str:
    return "" if _literal(host) is not None else host.lower().removesuffix(".")
