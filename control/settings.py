"""What a control plane is told when it starts: frozen values, checked once."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from pyconnector.control.store.database import parse_database_url, sqlite_url
from pyconnector.control.store.errors import Invalid
from pyconnector.control.store.objects.names import hostname_of
from pyconnector.identity.devices.addresses import MESH_RANGE, NAME_RANGE, RangeError, parse_range

#: The zone of a mesh that is given none: names under `localhost` lead browsers to this machine.
DEFAULT_ZONE = "mesh.localhost"
#: Quick tunnels at once where only this machine can ask for them.
DEFAULT_QUICK_TUNNELS = 100
MAX_QUICK_TUNNELS = 1000
DATABASE_FILE = "control.sqlite3"
#: What connectors trust the edges by, and its key: as an edge of this machine keeps them.
AUTHORITY_FILE, AUTHORITY_KEY_FILE = "ca.pem", "ca-key.pem"
CERT_FILE = "cert.pem"
EDGE_TOKEN_FILE = "edge-token"


class SettingsError(ValueError):
    """A setting that the control plane cannot start with. Its text is one sentence for whoever wrote it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlaneSettings:
    """Everything about one control plane."""

    data_directory: Path
    "Where keys, `cert.pem` and the SQLite file are; made at the first start, for its owner alone."
    address: tuple[str, int] = ("127.0.0.1", 0)
    "Where the API listens."
    dns_address: tuple[str, int] | None = None
    "Where the edges' SRV records are served; None for nowhere."
    database: str = field(default="", repr=False)
    "`postgresql://...`; empty for a SQLite file in the data directory."
    zone: str = DEFAULT_ZONE
    account_name: str = "mesh"
    hostnames: tuple[str, ...] = ()
    "Names under which browsers may reach it, beside `localhost`; addresses may always."
    quick_tunnels: int | None = None
    "Quick tunnels at once, for anybody who asks; None: `DEFAULT_QUICK_TUNNELS` on loopback, none elsewhere."

    mesh_addresses: str = ""
    "Where devices get their Mesh addresses; empty for what the database says, at first 100.96.0.0/12."
    name_addresses: str = ""
    "Where private names get addresses that stand for them; empty likewise, at first 172.64.128.0/20."

    def __post_init__(self) -> None:
        self._check_ranges()
        try:
            hostname_of(self.zone)
        except Invalid as error:
            raise SettingsError(f"--zone: {error}") from None
        if self.zone.startswith("*."):
            raise SettingsError("--zone is a name, not a pattern")
        try:
            parse_database_url(self.database_url)
        except ValueError as error:
            raise SettingsError(f"--database: {error}") from None

        for name in self.hostnames:
            try:
                hostname_of(name)
            except Invalid as error:
                raise SettingsError(f"--api-hostname: {error}") from None
        if self.quick_tunnels is not None and not 0 <= self.quick_tunnels <= MAX_QUICK_TUNNELS:
            raise SettingsError(f"--quick-tunnels is a number from 0 to {MAX_QUICK_TUNNELS}")

    def _check_ranges(self) -> None:
        for flag, text in (("--mesh-addresses", self.mesh_addresses), ("--name-addresses", self.name_addresses)):
            try:
                _range(text)
            except RangeError as error:
                raise SettingsError(f"{flag}: {error}") from None
        mesh, names = self.mesh_range or MESH_RANGE, self.name_range or NAME_RANGE
        if mesh.overlaps(names):
            raise SettingsError(f"devices and names cannot share addresses: {mesh} and {names} overlap")

    @property
    def mesh_range(self) -> ipaddress.IPv4Network | None:
        """Where new devices get their addresses, if that is said."""
        return _range(self.mesh_addresses)

    @property
    def name_range(self) -> ipaddress.IPv4Network | None:
        """Where private names get theirs, if that is said."""
        return _range(self.name_addresses)

    @property
    def quick_limit(self) -> int:
        """How many quick tunnels there may be at once."""
        if self.quick_tunnels is not None:
            return self.quick_tunnels
        return DEFAULT_QUICK_TUNNELS if _is_loopback(self.address[0]) else 0

    @property
    def database_url(self) -> str:
        """The database to use."""
        return self.database or sqlite_url(self.data_directory.resolve() / DATABASE_FILE)


def _range(text: str) -> ipaddress.IPv4Network | None:
    return parse_range(text) if text else None


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
