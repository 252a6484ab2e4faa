"""Devices of the mesh as an edge knows them: whose they are, and their Mesh addresses. Synchronous, without I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from pyconnector.identity.devices.wireguard import key_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class WireGuardEntry:
    """How a device comes over WireGuard."""

    public_key: str
    server_key: str = field(repr=False)
    "The private key of this end."
    port: int
    "The UDP port that is this device's alone."
    dns_address: IPv4Address
    "Where it asks for private names."
    name_range: IPv4Network
    "The addresses that stand for names."


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceEntry:
    """A device, under the service token whose rules hold for it."""

    id: str
    name: str
    token_id: str
    address: IPv4Address
    "Its Mesh address."
    enabled: bool = True
    wireguard: WireGuardEntry | None = None
    "None for whatever shows the service token itself."


class Devices:
    """All devices, by id and by service token."""

    def __init__(self) -> None:
        self._all: dict[str, DeviceEntry] = {}
        self._of_token: dict[str, DeviceEntry] = {}

    def __len__(self) -> int:
        return len(self._all)

    def get(self, device_id: str) -> DeviceEntry | None:
        """Return a device."""
        return self._all.get(device_id)

    def of_token(self, token_id: str) -> DeviceEntry | None:
        """Return the record of whatever shows a service token, by the id of the token."""
        return self._of_token.get(token_id)

    def by_wireguard(self) -> tuple[DeviceEntry, ...]:
        """Return the devices that come over WireGuard."""
        return tuple(entry for entry in self._all.values() if entry.wireguard is not None)

    def put(self, entry: DeviceEntry) -> None:
        """Add a device, or change it."""
        self.drop(entry.id)
        self._all[entry.id] = entry
        if entry.wireguard is None:
            self._of_token[entry.token_id] = entry

    def drop(self, device_id: str) -> None:
        """Forget a device. Idempotent."""
        entry = self._all.pop(device_id, None)
        if entry is not None and self._of_token.get(entry.token_id) is entry:
            del self._of_token[entry.token_id]


def parse_device(object_id: str, value: dict[str, Any]) -> DeviceEntry:
    """Return a device as a control plane tells of it.

    Raises:
        ValueError, KeyError, TypeError: it is none.
    """
    name, kind, token_id, enabled = value["name"], value["kind"], value["token_id"], value["enabled"]
    if not (isinstance(name, str) and isinstance(token_id, str) and isinstance(enabled, bool)):
        raise TypeError
    if kind not in ("token", "wireguard"):
        raise ValueError(kind)
    return DeviceEntry(
        id=object_id, name=name, token_id=token_id, address=IPv4Address(value["address"]), enabled=enabled,
        wireguard=_wireguard(value) if kind == "wireguard" else None,
    )  # fmt: skip


def _wireguard(value: dict[str, Any]) -> WireGuardEntry:
    port = value["port"]
    if type(port) is not int or not 0 <= port <= 65_535:
        raise ValueError("a port is needed")
    key_bytes(value["public_key"])
    key_bytes(value["server_key"])
    return WireGuardEntry(
        public_key=value["public_key"], server_key=value["server_key"], port=port,
        dns_address=IPv4Address(value["dns_address"]), name_range=IPv4Network(value["name_range"]),
    )  # fmt: skip
