"""The objects that a control plane tells an edge of, read from JSON with every type checked. Pure."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from uuid import UUID

from pyconnector.edge.access.entries import ACCESS_KINDS, AccessEntry, parse_access
from pyconnector.identity.management_token import ManagementKey

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
#: The kinds of objects, in the order in which a snapshot is taken over: what others refer to first, and what guards a
#: name before the name.
LOGPUSH = "logpush_job"
KINDS = (*ACCESS_KINDS, "management_key", LOGPUSH, "tunnel", "name", "virtual_network", "ip_route", "hostname_route")
#: A request, not an object: close connections of a tunnel.
CLEANUP = "cleanup"


class DirectoryError(Exception):
    """What came is not what a control plane sends. Its text is one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelEntry:
    """A tunnel that connectors may register for."""

    tunnel_id: UUID
    account_tag: str
    name: str
    secret_sha256: bytes = field(repr=False)
    configuration: bytes | None = field(repr=False)
    configuration_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NameEntry:
    """A public name and the tunnel that serves it."""

    hostname: str
    tunnel_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualNetworkEntry:
    """A set of addresses of its own."""

    id: str
    name: str
    is_default: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class IpRouteEntry:
    """A network that a tunnel serves."""

    id: str
    network: Network
    tunnel_id: UUID
    virtual_network_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HostnameRouteEntry:
    """A private name that a tunnel serves."""

    id: str
    hostname: str
    tunnel_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEntry:
    """A job of Logpush."""

    id: str
    value: dict[str, Any] = field(repr=False)


Entry: TypeAlias = (
    ManagementKey
    | AccessEntry
    | JobEntry
    | TunnelEntry
    | NameEntry
    | VirtualNetworkEntry
    | IpRouteEntry
    | HostnameRouteEntry
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerEntry:
    """Another edge, and the tunnels that it holds connections of."""

    id: str
    address: str
    "HOST:PORT for other edges."
    tunnels: tuple[UUID, ...]
    draining: bool = False
    "Whether it is about to stop: to be asked last."


def parse_peers(body: object) -> tuple[PeerEntry, ...]:
    """Return the other edges in the answer to a report.

    Raises:
        DirectoryError: it holds something else.
    """
    try:
        return tuple(
            PeerEntry(
                id=_typed(entry["id"], str), address=_typed(entry["address"], str),
                tunnels=tuple(UUID(tunnel) for tunnel in entry["tunnels"]),
                draining=_typed(entry.get("draining", False), bool),
            )
            for entry in _typed(body, dict).get("peers", ())
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError):
        raise DirectoryError("the list of other edges lacks a value, or has one of a wrong type") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeEntry:
    """One change; `value` is None where the object is gone."""

    number: int
    kind: str
    id: str
    value: dict[str, Any] | None


def parse_entry(kind: str, object_id: str, value: object) -> Entry:
    """Return an object.

    Raises:
        DirectoryError: it is none of that kind.
    """
    if not isinstance(value, dict):
        raise DirectoryError(f"the {kind} {object_id[:100]!r} is no object")
    try:
        return _parsed(kind, object_id, value)
    except (KeyError, TypeError, ValueError):
        raise DirectoryError(f"the {kind} {object_id[:100]!r} lacks a value, or has one of a wrong type") from None


def parse_changes(body: object) -> list[ChangeEntry]:
    """Return the changes of one answer.

    Raises:
        DirectoryError: it holds something else.
    """
    try:
        entries = _typed(body, dict)["changes"]
        return [
            ChangeEntry(
                number=_typed(entry["number"], int), kind=_typed(entry["kind"], str), id=_typed(entry["id"], str),
                value=entry["value"],
            )
            for entry in entries
        ]  # fmt: skip
    except (KeyError, TypeError, ValueError):
        raise DirectoryError("the changes lack a value, or have one of a wrong type") from None


def parse_snapshot(body: object) -> tuple[int, dict[str, dict[str, Any]]]:
    """Return the number of a snapshot and its objects, as they came, by kind and id.

    Raises:
        DirectoryError: it is none.
    """
    try:
        number = _typed(_typed(body, dict)["number"], int)
        objects = _typed(body, dict)["objects"]
        return number, {kind: dict(_typed(objects.get(kind, {}), dict)) for kind in KINDS}
    except (KeyError, TypeError, ValueError, AttributeError):
        raise DirectoryError("the snapshot lacks a value, or has one of a wrong type") from None


def _parsed(kind: str, object_id: str, value: dict[str, Any]) -> Entry:
    if kind in ACCESS_KINDS:
        return parse_access(kind, object_id, value)
    match kind:
        case "logpush_job":
            if not object_id.isdigit() or type(value["enabled"]) is not bool:
                raise ValueError
            return JobEntry(id=object_id, value=value)
        case "management_key":
            return ManagementKey(value)
        case "tunnel":
            configuration = value["configuration"]
            digest = bytes.fromhex(value["secret_sha256"])
            if len(digest) != 32:
                raise ValueError
            return TunnelEntry(
                tunnel_id=UUID(object_id), account_tag=_typed(value["account"], str), name=_typed(value["name"], str),
                secret_sha256=digest, configuration_version=_typed(value["configuration_version"], int),
                configuration=None if configuration is None else json.dumps(_typed(configuration, dict)).encode(),
            )  # fmt: skip
        case "name":
            return NameEntry(hostname=object_id, tunnel_id=UUID(value["tunnel_id"]))
        case "virtual_network":
            return VirtualNetworkEntry(
                id=object_id, name=_typed(value["name"], str), is_default=_typed(value["is_default"], bool)
            )
        case "ip_route":
            return IpRouteEntry(
                id=object_id, network=ipaddress.ip_network(value["network"]), tunnel_id=UUID(value["tunnel_id"]),
                virtual_network_id=_typed(value["virtual_network_id"], str),
            )  # fmt: skip
        case "hostname_route":
            return HostnameRouteEntry(
                id=object_id, hostname=_typed(value["hostname"], str), tunnel_id=UUID(value["tunnel_id"])
            )
    raise ValueError


def _typed(value: Any, wanted: type) -> Any:
    if type(value) is not wanted:
        raise TypeError
    return value
