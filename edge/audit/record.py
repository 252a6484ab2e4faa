"""What is recorded of one request: names of the provider's log fields, ours where it has none (api.md 9). Pure.

No secret, token, cookie or query is ever in a record.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyconnector.identity.applications.application import Application
    from pyconnector.identity.policies.policy import Decision
    from pyconnector.identity.policies.rules import Caller
    from pyconnector.identity.service_tokens import ServiceToken

#: Characters of a path, a host and a user agent that are kept.
MAX_PATH, MAX_HOST, MAX_AGENT = 2048, 261, 256


@dataclass(slots=True, kw_only=True)
class Ended:
    """One request at its end. Moments are seconds since the epoch."""

    begun: float
    seconds: float
    protocol: str
    "HTTP, WEBSOCKET or TCP."
    ray: str
    method: str
    host: str
    path: str
    version: str
    agent: str
    address: str
    status: int
    sent: int
    "Bytes from the visitor to the service, without headers."
    received: int
    "Bytes from the service to the visitor, without headers."
    account: str
    location: str
    tunnel: str
    connector: str
    close_reason: str
    token: ServiceToken | None
    application: Application | None
    decision: Decision | None
    caller: Caller | None = None
    "Who asked, where that is a person."


def record_of(ended: Ended) -> dict[str, Any]:
    """Return the record of a request. Fields that say nothing are left out, but for those that every record has."""
    decision, token, application = ended.decision, ended.token, ended.application
    allowed = decision is None or decision.allowed
    end = ended.begun + ended.seconds
    record: dict[str, Any] = {
        "Datetime": time_text(ended.begun), "RayID": ended.ray, "Protocol": ended.protocol, "HTTPMethod": ended.method,
        "HTTPHost": ended.host[:MAX_HOST], "URL": ended.path[:MAX_PATH], "HTTPVersion": ended.version,
        "HTTPStatusCode": ended.status, "UserAgent": ended.agent[:MAX_AGENT], "SourceIP": ended.address,
        "BytesSent": ended.sent, "BytesReceived": ended.received, "DurationMs": round(ended.seconds * 1000, 3),
        **(person_fields(ended.caller) if ended.caller is not None and ended.caller.user else actor_fields(token)),
        **verdict_fields("no_application" if decision is None else decision.reason.value, allowed),
        "AccountID": ended.account, "ColoName": ended.location,
    }  # fmt: skip
    if application is not None:
        record |= {
            "AppUUID": application.id, "AppName": application.name, "AppDomain": application.patterns[0].text,
            "PrivateAppAUD": application.audience,
        }  # fmt: skip
    if decision is not None and decision.policy is not None:
        policy = decision.policy
        record |= {"PolicyID": policy.id, "PolicyName": policy.name, "PolicyRevision": policy.revision}
    if decision is not None and decision.grant:
        record["GrantID"] = decision.grant
    if ended.tunnel:
        record |= {
            "Offramp": "CFD_TUNNEL", "DestinationTunnelID": ended.tunnel, "DestinationReplicaID": ended.connector,
        }  # fmt: skip
    if ended.protocol != "HTTP":
        record |= {
            "SessionStartTime": time_text(ended.begun), "SessionEndTime": time_text(end),
            "ConnectionCloseReason": ended.close_reason or "UNKNOWN",
        }  # fmt: skip
    return record


def person_fields(caller: Caller) -> dict[str, Any]:
    """Return which person asked, as every record of one says it."""
    return {
        "ActorType": "user", "UserID": caller.user, "Email": caller.email, "IdentityProviderID": caller.provider,
    }  # fmt: skip


def actor_fields(token: ServiceToken | None) -> dict[str, Any]:
    """Return who asked, as every record says it."""
    if token is None:
        return {"ActorType": "anonymous"}
    return {
        "ActorType": "service_token", "ServiceTokenID": token.client_id, "ServiceTokenUUID": token.id,
        "ServiceTokenName": token.name, "Role": token.role, "Labels": sorted(token.labels),
    }  # fmt: skip


def verdict_fields(reason: str, allowed: bool) -> dict[str, Any]:
    """Return whether it was allowed and why, as every record says it."""
    return {"Action": "allow" if allowed else "block", "Allowed": allowed, "Reason": reason}


def time_text(moment: float) -> str:
    """Return a moment, seconds since the epoch, as every record says it."""
    text = datetime.datetime.fromtimestamp(moment, datetime.UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"
