"""One record for each flow of the private network, refusals included, in the shape of zero_trust_network_sessions
(api.md 9).

A record goes to a logger, and to a file where one is named: a task writes it there, beside the event loop, and what it
cannot keep up with is dropped and counted.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import logging
import os
import uuid
from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path

    from pyconnector.edge.private.network import Destination
    from pyconnector.identity.network_rules import NetworkDecision
    from pyconnector.identity.service_tokens import ServiceToken

#: Records that wait to be written.
MAX_WAITING: Final = 10_000
#: Records that are kept in memory.
MAX_RECENT: Final = 1_000
#: Longest text of a client in a record.
MAX_TEXT: Final = 255

_log = logging.getLogger("pyconnector.edge.network_sessions")
_edge_log = logging.getLogger("pyconnector.edge")


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
    UNKNOWN = "UNKNOWN"


@dataclass(slots=True, kw_only=True, eq=False)
class FlowRecord:
    """What is known of one flow, filled in as it goes on."""

    onramp: str
    "`http-connect` or `socks5`."
    protocol: str
    source: tuple[str, int]
    wanted: tuple[str, int] = ("", 0)
    "As the client named it."
    virtual_network: str = ""
    session_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    started: datetime.datetime = field(default_factory=lambda: datetime.datetime.now(datetime.UTC))
    token: ServiceToken | None = None
    claimed: str = ""
    "The client id that was shown, whether or not it was believed."
    decision: NetworkDecision | None = None
    destination: Destination | None = None
    connector_id: str = ""
    sent: int = 0
    received: int = 0
    reason: CloseReason = CloseReason.UNKNOWN
    detail: str = ""

    def as_json(self, location: str) -> dict[str, Any]:
        """Return the record. No secrets."""
        destination, token, rule = self.destination, self.token, self.decision.rule if self.decision else None
        return {
            "SessionID": self.session_id,
            "SessionStartTime": _moment(self.started),
            "SessionEndTime": _moment(datetime.datetime.now(datetime.UTC)),
            "AccountID": destination.tunnel.account_tag if destination is not None else "",
            "UserID": token.client_id if token is not None else "",
            "TokenName": token.name if token is not None else "",
            "ClaimedUser": "" if token is not None else self.claimed[:MAX_TEXT],
            "SourceIP": self.source[0],
            "SourcePort": self.source[1],
            "IngressColoName": location,
            "OnrampType": "OTHER",
            "Onramp": self.onramp,
            "Offramp": "CFD_TUNNEL" if destination is not None else "",
            "Protocol": self.protocol.upper(),
            "RequestedHost": self.wanted[0][:MAX_TEXT],
            "ResolvedFQDN": destination.name if destination is not None else "",
            "OriginIP": str(destination.address) if destination is not None else "",
            "OriginPort": destination.port if destination is not None else self.wanted[1],
            "VirtualNetworkID": destination.virtual_network if destination is not None else "",
            "VirtualNetworkName": self.virtual_network[:MAX_TEXT],
            "Route": destination.network if destination is not None else "",
            "DestinationTunnelID": str(destination.tunnel.tunnel_id) if destination is not None else "",
            "DestinationReplicaID": self.connector_id,
            "Decision": "" if self.decision is None else "allow" if self.decision.allowed else "block",
            "RuleID": rule.id if rule is not None else "",
            "RuleName": rule.name if rule is not None else "",
            "BytesSent": self.sent,
            "BytesReceived": self.received,
            "ConnectionCloseReason": self.reason.value,
            "Detail": self.detail[:MAX_TEXT],
        }


class Records:
    """Where finished records go."""

    def __init__(self, location: str, path: Path | None = None) -> None:
        self.recent: deque[dict[str, Any]] = deque(maxlen=MAX_RECENT)
        self.dropped = 0
        self._location = location
        self._path = path
        self._waiting: list[str] = []
        self._writing: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Records recent={len(self.recent)} dropped={self.dropped}>"

    def write(self, record: FlowRecord) -> None:
        """Take a finished record. Never waits and never raises."""
        value = record.as_json(self._location)
        self.recent.append(value)
        if _log.isEnabledFor(logging.INFO):
            _log.info("network session", extra={"fields": value})
        if self._path is None:
            return
        if len(self._waiting) >= MAX_WAITING:
            self.dropped += 1
            return
        self._waiting.append(json.dumps(value, separators=(",", ":")))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.get_running_loop().create_task(self._write_all(), name="network session records")

    async def close(self) -> None:
        """Write what waits. Cancel leaves some of it unwritten."""
        if self._writing is not None:
            await asyncio.shield(self._writing)

    async def _write_all(self) -> None:
        assert self._path is not None
        while self._waiting:
            lines, self._waiting = self._waiting, []
            try:
                await asyncio.to_thread(_append, self._path, "".join(f"{line}\n" for line in lines))
            except OSError as error:
                self.dropped += len(lines)
                _edge_log.warning(
                    "%d network session records cannot be written to %s: %s",
                    len(lines), self._path, error.strerror or error,
                )  # fmt: skip


def _append(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "a", encoding="utf-8") as file:
        file.write(text)


def _moment(moment: datetime.datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
