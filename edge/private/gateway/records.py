"""One record for each flow of the private network, refusals included, in the shape of zero_trust_network_sessions
(api.md 9), with the fields beside it that every record of the edge has.

Finished records go to the edge's audit log where it has one, to a logger, and the last ones are kept in memory.
"""

from __future__ import annotations

import logging
import uuid
from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from pyconnector.edge.audit.record import actor_fields, person_fields, time_text, verdict_fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.edge.access.devices import DeviceEntry
    from pyconnector.edge.access.identify import Identified
    from pyconnector.edge.access.people import IdentifiedPerson
    from pyconnector.edge.audit.log import AuditLog
    from pyconnector.edge.private.network import Destination
    from pyconnector.identity.network_rules import NetworkDecision
    from pyconnector.identity.service_tokens import ServiceToken

#: Records that are kept in memory.
MAX_RECENT: Final = 1_000
#: Longest text of a client in a record.
MAX_TEXT: Final = 255

_log = logging.getLogger("pyconnector.edge.network_sessions")


class CloseReason(Enum):
    """How a flow ended, in the words of api.md 9."""

    CLIENT_CLOSED = "CLIENT_CLOSED"
    CLIENT_ERROR = "CLIENT_ERROR"
    IDLE = "CLIENT_IDLE_TIMEOUT"
    ORIGIN_CLOSED = "ORIGIN_CLOSED"
    ORIGIN_ERROR = "ORIGIN_ERROR"
    UNREACHABLE = "ORIGIN_UNREACHABLE"
    UNROUTABLE = "ORIGIN_UNROUTABLE"
    REFUSED = "PROXY_CONN_REFUSED"
    TOO_MANY = "TOO_MANY_ACTIVE_SESSIONS_FOR_USER"
    TOO_MANY_NEW = "TOO_MANY_NEW_SESSIONS_FOR_USER"
    UNKNOWN = "UNKNOWN"


@dataclass(slots=True, kw_only=True, eq=False)
class FlowRecord:
    """What is known of one flow, filled in as it goes on."""

    onramp: str
    "How the client came: `http-connect`, `http2-connect`, `connect-udp`, `socks5`, `wireguard`."
    protocol: str
    source: tuple[str, int]
    begun: float
    "Seconds since the epoch."
    wanted: tuple[str, int] = ("", 0)
    "As the client named it."
    virtual_network: str = ""
    session_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    identified: Identified | IdentifiedPerson | None = None
    device: DeviceEntry | None = None
    "The device that the client is; its Mesh address is the source that rules name."
    claimed: str = ""
    "The client id that was shown, whether or not it was believed."
    decision: NetworkDecision | None = None
    destination: Destination | None = None
    connector_id: str = ""
    sent: int = 0
    received: int = 0
    reason: CloseReason = CloseReason.UNKNOWN
    silent: bool = False
    "Whether it is one of so many refusals that the first of them says it for all."
    verdict: str = ""
    "Why it was refused before a rule was asked."
    detail: str = ""

    @property
    def token(self) -> ServiceToken | None:
        """The service token that the client is known by; None of a person, too."""
        return None if self.identified is None else self.identified.token

    @property
    def actor(self) -> str:
        """What the client is known by: a client id, or a person's subject; empty for nobody."""
        found = self.identified
        if found is None:
            return ""
        return found.token.client_id if found.token is not None else found.person.subject

    def as_json(self, location: str, now: float) -> dict[str, Any]:
        """Return the record at its end, `now` in seconds since the epoch. No secrets."""
        destination, token, decision = self.destination, self.token, self.decision
        rule = decision.rule if decision is not None else None
        tunnel = destination.tunnel if destination is not None else None
        allowed = decision is not None and decision.allowed and not self.verdict
        verdict = self.verdict or ("network_rule" if rule is not None else "no_network_rule")
        begun, ended = time_text(self.begun), time_text(now)
        actor = actor_fields(token)
        if self.identified is not None and token is None:
            actor = person_fields(self.identified.caller(None))
        return {
            "Datetime": begun, "SessionID": self.session_id, "SessionStartTime": begun, "SessionEndTime": ended,
            "DurationMs": round((now - self.begun) * 1000, 3), **actor,
            **verdict_fields(verdict, allowed), "AccountID": tunnel.account_tag if tunnel is not None else "",
            "UserID": self.actor, "ClaimedUser": "" if self.actor else self.claimed[:MAX_TEXT],
            "SourceIP": self.source[0], "SourcePort": self.source[1], **self._device_fields(), "ColoName": location,
            "IngressColoName": location, "OnrampType": "OTHER", "Onramp": self.onramp,
            "Offramp": "CFD_TUNNEL" if destination is not None else "", "Protocol": self.protocol.upper(),
            "RequestedHost": self.wanted[0][:MAX_TEXT],
            "ResolvedFQDN": destination.name if destination is not None else "",
            "OriginIP": str(destination.address) if destination is not None else "",
            "OriginPort": destination.port if destination is not None else self.wanted[1],
            "VirtualNetworkID": destination.virtual_network if destination is not None else "",
            "VirtualNetworkName": self.virtual_network[:MAX_TEXT],
            "Route": destination.network if destination is not None else "",
            "DestinationTunnelID": str(tunnel.tunnel_id) if tunnel is not None else "",
            "DestinationReplicaID": self.connector_id, "RuleID": rule.id if rule is not None else "",
            "RuleName": rule.name if rule is not None else "", "BytesSent": self.sent, "BytesReceived": self.received,
            "ConnectionCloseReason": self.reason.value, "Detail": self.detail[:MAX_TEXT],
        }  # fmt: skip

    def _device_fields(self) -> dict[str, str]:
        device = self.device
        if device is None:
            return {"SourceInternalIP": "", "DeviceID": "", "DeviceName": "", "RegistrationID": ""}
        return {
            "SourceInternalIP": str(device.address), "DeviceID": device.id, "DeviceName": device.name,
            "RegistrationID": device.id,
        }  # fmt: skip


class Records:
    """Where finished records go."""

    def __init__(self, location: str, clock: Callable[[], float], audit: AuditLog | None = None) -> None:
        self.recent: deque[dict[str, Any]] = deque(maxlen=MAX_RECENT)
        self.clock = clock
        "Seconds since the epoch."
        self._location = location
        self._audit = audit

    def __repr__(self) -> str:
        return f"<Records recent={len(self.recent)} audit={self._audit!r}>"

    @property
    def refuses(self) -> bool:
        """Whether nothing is to be served now, because it could not be recorded."""
        return self._audit is not None and self._audit.refuses

    def write(self, record: FlowRecord) -> None:
        """Take a finished record. Never waits and never raises."""
        if record.silent:
            return
        value = record.as_json(self._location, self.clock())
        self.recent.append(value)
        if _log.isEnabledFor(logging.INFO):
            _log.info("network session", extra={"fields": value})
        if self._audit is not None:
            self._audit.put(value, unserved=self._audit.refuses and not value["Allowed"])
