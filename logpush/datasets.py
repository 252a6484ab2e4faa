"""The data sets of Logpush that the records of an edge fill: which records, which fields, and what those mean. Pure.

Named as the provider names them (api.md 9); `audit_records` is ours and has everything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Record: TypeAlias = dict[str, Any]

_COMMON = {
    "AccountID": "The account whose edge wrote the record.",
    "Action": "allow or block.",
    "Datetime": "When the request began.",
    "HTTPHost": "The host that was asked for.",
    "HTTPMethod": "The method of the request.",
    "HTTPStatusCode": "What the visitor was answered.",
    "HTTPVersion": "The version of HTTP that the visitor spoke.",
    "PolicyID": "The policy that decided.",
    "PolicyName": "Its name.",
    "PrivateAppAUD": "The audience tag of the application.",
    "RequestID": "The ray id of the request, as in `Cf-Ray`.",
    "SourceIP": "The visitor's address.",
    "URL": "The path, without its query.",
    "UserAgent": "What the visitor calls itself.",
    "Email": "The user's e-mail address, where somebody is logged in.",
    "UserID": "The user, where somebody is logged in.",
}
_SESSION = {
    "AccountID": _COMMON["AccountID"],
    "BytesReceived": "Bytes from the service to the visitor.",
    "BytesSent": "Bytes from the visitor to the service.",
    "ConnectionCloseReason": "How it ended; REVOKED is an extension.",
    "DestinationReplicaID": "The connector that served it.",
    "DestinationTunnelID": "The tunnel that it went through.",
    "Email": _COMMON["Email"],
    "IngressColoName": "The location of the edge.",
    "OnrampType": "OTHER.",
    "OriginIP": "The address behind the tunnel, of a private flow.",
    "OriginPort": "Its port.",
    "ResolvedFQDN": "The name that led to it.",
    "SourcePort": "The client's port, of a private flow.",
    "SourceInternalIP": "The Mesh address of its device.",
    "DeviceID": "That device.",
    "DeviceName": "Its name.",
    "RegistrationID": "The same as DeviceID.",
    "VirtualNetworkID": "The virtual network, of a private flow.",
    "Offramp": "CFD_TUNNEL where a tunnel served it.",
    "Protocol": "TCP, UDP; WEBSOCKET is an extension.",
    "SNI": "The host that was asked for.",
    "SessionEndTime": "When it ended.",
    "SessionID": "The ray id of the session.",
    "SessionStartTime": "When it began.",
    "SourceIP": _COMMON["SourceIP"],
    "UserID": _COMMON["UserID"],
}
_ACCESS = {
    "Action": "login.",
    "Allowed": "Whether the visitor passed.",
    "AppDomain": "The primary place of the application.",
    "AppUUID": "The application.",
    "Connection": "How the visitor showed who it is.",
    "CreatedAt": "When it was decided.",
    "Email": _COMMON["Email"],
    "IPAddress": "The visitor's address.",
    "RayID": "The ray id of the request.",
    "UserUID": "The user; empty for a service token.",
    "ServiceTokenID": "The client id of the service token; an extension.",
    "ServiceTokenName": "Its name; an extension.",
    "Reason": "Why it was decided so; an extension.",
}
_OWN = {
    **_COMMON, **_SESSION,
    "ActorType": "anonymous, service_token or user.",
    "Allowed": "Whether the visitor passed.",
    "AppDomain": _ACCESS["AppDomain"],
    "AppName": "The application's name.",
    "AppUUID": _ACCESS["AppUUID"],
    "AuditRecordsLost": "How many records were lost before this one.",
    "Chain": "The digest that ends the line in the edge's own file.",
    "ColoName": "The location of the edge.",
    "ClaimedUser": "The client id that was shown and not believed, of a private flow.",
    "Detail": "One sentence on how a private flow ended.",
    "DurationMs": "How long it took, in milliseconds.",
    "GrantID": "The grant that was shown.",
    "Onramp": "How a private flow came: http-connect, http2-connect, connect-udp, socks5.",
    "RequestedHost": "What the client named, of a private flow.",
    "Route": "The route that led there.",
    "RuleID": "The network rule that decided.",
    "RuleName": "Its name.",
    "VirtualNetworkName": "The name of the virtual network.",
    "Labels": "The labels of the service token.",
    "PolicyRevision": "The revision of the policy that decided.",
    "RayID": _ACCESS["RayID"],
    "Reason": "Why it was decided so.",
    "Role": "The role of the service token.",
    "ServiceTokenID": "The client id of the service token.",
    "ServiceTokenName": "Its name.",
    "ServiceTokenUUID": "Its id.",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Dataset:
    """One data set."""

    name: str
    fields: Mapping[str, str]
    "What each field means."
    view: Callable[[Record], Record | None]
    "A record as this data set has it; None where it has none of it."


def _request(record: Record) -> Record | None:
    if record.get("Protocol") not in ("HTTP", "WEBSOCKET"):
        return None
    return {**record, "RequestID": record.get("RayID", "")}


def _session(record: Record) -> Record | None:
    if "SessionStartTime" not in record:
        return None
    return {
        **record, "SessionID": record.get("SessionID") or record.get("RayID", ""),
        "SNI": record.get("HTTPHost", ""),
        "IngressColoName": record.get("ColoName", ""),
    }  # fmt: skip


def _access(record: Record) -> Record | None:
    if "AppUUID" not in record:
        return None
    return {
        **record, "Action": "login", "CreatedAt": record.get("Datetime", ""), "IPAddress": record.get("SourceIP", ""),
        "UserUID": record.get("UserID", ""), "Connection": record.get("Connection") or record.get("ActorType", ""),
    }  # fmt: skip


DATASETS: Mapping[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        Dataset("access_requests", _ACCESS, _access),
        Dataset("gateway_http", _COMMON, _request),
        Dataset("zero_trust_network_sessions", _SESSION, _session),
        Dataset("audit_records", _OWN, lambda record: record),
    )
}
#: What is recorded as a moment; the form of these can be chosen.
MOMENTS = frozenset({"Datetime", "CreatedAt", "SessionStartTime", "SessionEndTime"})
