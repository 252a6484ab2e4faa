"""What a control plane is told when it starts: frozen values, checked once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pyconnector.control.store.database import parse_database_url, sqlite_url
from pyconnector.control.store.errors import Invalid
from pyconnector.control.store.objects.names import hostname_of

#: The zone of a mesh that is given none: names under `localhost` lead browsers to this machine.
DEFAULT_ZONE = "mesh.localhost"
DATABASE_FILE = "control.sqlite3"
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
    database: str = field(default="", repr=False)
    "`postgresql://...`; empty for a SQLite file in the data directory."
    zone: str = DEFAULT_ZONE
    account_name: str = "mesh"

    def __post_init__(self) -> None:
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

    @property
    def database_url(self) -> str:
        """The database to use."""
        return self.database or sqlite_url(self.data_directory.resolve() / DATABASE_FILE)
