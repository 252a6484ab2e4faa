"""Config files and credentials for tests of the connector."""

from __future__ import annotations

import base64
import json
import uuid
from pathlib import Path

from pyconnector.connector.api.errors import ConfigError
from pyconnector.connector.config import ConnectorConfig, load_config
from pyconnector.protocol.tokens import TunnelToken, encode_token

TUNNEL_ID = uuid.UUID("6ff42ae2-765d-4adf-8112-31c55c1551ef")
SECRET = b"0123456789abcdef0123456789abcdef"
SECRET_TEXT = base64.b64encode(SECRET).decode()
ACCOUNT = "a" * 32
RULES = "ingress:\n  - service: http_status:404\n"


def write_credentials(directory: Path, **changes: object) -> Path:
    path = directory / "credentials.json"
    value = {"AccountTag": ACCOUNT, "TunnelSecret": SECRET_TEXT, "TunnelID": str(TUNNEL_ID), "Endpoint": ""} | changes
    path.write_text(json.dumps(value))
    path.chmod(0o400)
    return path


def write_config(directory: Path, text: str = RULES, *, credentials: bool = True) -> Path:
    """Write `text` after a line that names credentials, so that its first line is line 2."""
    path = directory / "config.yml"
    first = f"credentials-file: {write_credentials(directory)}\n" if credentials else ""
    path.write_text(first + text)
    return path


def load(directory: Path, text: str = RULES, **overrides: object) -> ConnectorConfig:
    return load_config(str(write_config(directory, text)), {k.replace("_", "-"): v for k, v in overrides.items()})


def problems(directory: Path, text: str, *, allow_unknown_keys: bool = False, **overrides: object) -> list[str]:
    """The problems of a config as lines, the directory cut off."""
    try:
        load_config(
            str(write_config(directory, text)),
            {k.replace("_", "-"): v for k, v in overrides.items()},
            allow_unknown_keys=allow_unknown_keys,
        )
    except ConfigError as error:
        return [line.replace(f"{directory}/", "") for line in str(error).splitlines()]
    return []


def token() -> str:
    return encode_token(TunnelToken(account_tag=ACCOUNT, secret=SECRET, tunnel_id=TUNNEL_ID))
