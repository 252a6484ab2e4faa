"""What there is, as the API tells it, in the words of the files."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pyconnector.connector.cli.access.apply import network_rules
from pyconnector.connector.cli.access.apply.providers import told_provider
from pyconnector.connector.cli.access.apply.wanted import (
    APPLICATION,
    GROUP,
    KINDS,
    LISTS,
    NAME_ROUTE,
    NETWORK_ROUTE,
    NETWORK_RULE,
    POLICY,
    PRIVATE_NAME,
    PROVIDER,
    TOKEN,
)
from pyconnector.connector.cli.account.client import ApiError

if TYPE_CHECKING:
    from collections.abc import Collection

    from pyconnector.connector.cli.account.client import ApiClient

#: Where each kind is in the API, below the account.
PATHS = {
    TOKEN: "access/service_tokens", GROUP: "access/groups", POLICY: "access/policies", APPLICATION: "access/apps",
    PROVIDER: "access/identity_providers", NETWORK_RULE: "network_rules", NETWORK_ROUTE: "teamnet/routes",
    PRIVATE_NAME: "zerotrust/routes/hostname",
}  # fmt: skip
_CONDITIONS = {PROVIDER, TOKEN, GROUP}
_REFERRED = {
    GROUP: _CONDITIONS, POLICY: _CONDITIONS, APPLICATION: {PROVIDER, POLICY}, NETWORK_RULE: {TOKEN},
}  # fmt: skip
TUNNEL_SUFFIX = ".cfargotunnel.com"


@dataclass(slots=True)
class Current:
    """All objects, by kind and name; each as the API tells it."""

    objects: dict[str, dict[str, list[dict[str, Any]]]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    tunnels: dict[str, str] = field(default_factory=dict)
    "Id by name."
    networks: dict[str, str] = field(default_factory=dict)
    "Id of each virtual network by name."
    zones: dict[str, str] = field(default_factory=dict)
    "Id by name."

    def find(self, kind: str, name: str) -> dict[str, Any] | None:
        """Return the object of a name.

        Raises:
            ApiError: there are several.
        """
        found = self.objects[kind].get(name, [])
        if len(found) > 1:
            raise ApiError(
                f"there are {len(found)} of the kind {kind} with the name {name}: rename or delete all but one"
            )
        return found[0] if found else None

    def names(self, kind: str) -> dict[str, str]:
        """Return the name of each object by its id."""
        return {str(row["id"]): name for name, rows in self.objects[kind].items() for row in rows}

    def zone_of(self, hostname: str) -> str:
        """Return the id of the zone that a name lies in.

        Raises:
            ApiError: in none.
        """
        for name in sorted(self.zones, key=len, reverse=True):
            if hostname == name or hostname.endswith("." + name):
                return self.zones[name]
        raise ApiError(f"{hostname} lies in no zone here: {', '.join(self.zones) or 'there is none'}")


def read_current(client: ApiClient, kinds: Collection[str]) -> Current:
    """Return what there is of `kinds`.

    Raises:
        ApiError: it cannot be had.
    """
    current = Current()
    routes = {NAME_ROUTE, NETWORK_ROUTE, PRIVATE_NAME} & set(kinds)
    # What others refer to is read with them.
    needed = set(kinds)
    for kind, referred in _REFERRED.items():
        needed |= referred if kind in kinds else set()
    for kind in (PROVIDER, TOKEN, GROUP, POLICY, APPLICATION):
        if kind in needed:
            for row in client.pages(f"list {_plural(kind)}", client.account(PATHS[kind])):
                current.objects[kind].setdefault(str(row["name"]), []).append(row)
    if NETWORK_RULE in kinds:
        for row in client.pages("list network rules", client.account(PATHS[NETWORK_RULE])):
            current.objects[NETWORK_RULE].setdefault(network_rules.key_of(row), []).append(row)
    if routes:
        _read_routes(client, routes, current)
    return current


def _read_routes(client: ApiClient, routes: Collection[str], current: Current) -> None:
    rows = client.pages("list tunnels", client.account("cfd_tunnel"), is_deleted="false")
    current.tunnels = {str(row["name"]): str(row["id"]) for row in rows}
    if NAME_ROUTE in routes:
        current.zones = {str(row["name"]): str(row["id"]) for row in client.pages("list zones", "/zones")}
        for zone in current.zones.values():
            for row in client.pages("list records", f"/zones/{zone}/dns_records", type="CNAME"):
                if str(row["content"]).endswith(TUNNEL_SUFFIX):
                    current.objects[NAME_ROUTE].setdefault(str(row["name"]), []).append(row)
    if NETWORK_ROUTE in routes:
        rows = client.call(
            "list virtual networks", "GET", client.account("teamnet/virtual_networks"), is_deleted="false"
        )
        current.networks = {str(row["name"]): str(row["id"]) for row in rows or ()}
        default = next((str(row["id"]) for row in rows or () if row.get("is_default_network")), "")
        current.networks[""] = default
        names = {network_id: name for name, network_id in current.networks.items() if name}
        for row in client.pages("list routes", client.account(PATHS[NETWORK_ROUTE]), is_deleted="false"):
            # The default network goes without its name, as in the files.
            network = "" if row["virtual_network_id"] == default else names.get(row["virtual_network_id"], "?")
            current.objects[NETWORK_ROUTE].setdefault(route_key(str(row["network"]), network), []).append(row)
    if PRIVATE_NAME in routes:
        for row in client.pages("list hostname routes", client.account(PATHS[PRIVATE_NAME]), is_deleted="false"):
            current.objects[PRIVATE_NAME].setdefault(str(row["hostname"]), []).append(row)


def route_key(network: str, virtual_network: str) -> str:
    """Return what tells a network route from the others."""
    return f"{network} in {virtual_network}" if virtual_network else network


def told(kind: str, row: dict[str, Any], current: Current) -> dict[str, Any]:
    """Return an object as the files would say it, for comparing."""
    if kind == PROVIDER:
        return told_provider(row)
    if kind == NETWORK_RULE:
        return network_rules.told_rule(row)
    if kind == TOKEN:
        return {name: row.get(name) for name in ("duration", "enabled", "role", "labels", "owner")}
    if kind in (GROUP, POLICY):
        rules = {name: [dict(rule) for rule in row.get(name) or ()] for name in LISTS}
        return rules if kind == GROUP else {
            **rules, "decision": row.get("decision"), "session_duration": row.get("session_duration"),
        }  # fmt: skip
    if kind == APPLICATION:
        return {
            "places": [str(place["uri"]) for place in row.get("destinations") or ()],
            "policies": [str(policy["id"]) for policy in row.get("policies") or ()],
            "session_duration": row.get("session_duration"), "identity_headers": row.get("identity_headers"),
            "read_service_tokens_from_header": row.get("read_service_tokens_from_header"),
            "allowed_idps": [str(provider) for provider in row.get("allowed_idps") or ()],
            "auto_redirect_to_identity": row.get("auto_redirect_to_identity"),
        }  # fmt: skip
    tunnel = str(row["content"]).removesuffix(TUNNEL_SUFFIX) if kind == NAME_ROUTE else str(row["tunnel_id"])
    return {"tunnel": tunnel, "comment": row.get("comment") or ""}


def _plural(kind: str) -> str:
    return kind[:-1] + "ies" if kind.endswith("y") else kind + "s"
