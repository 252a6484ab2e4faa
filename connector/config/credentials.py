"""Where a tunnel's credentials come from: a token, a JSON file, or its contents (reference/ingress.md 2).

A token beats everything else, then `credentials-contents`, then `credentials-file`, then `<tunnel id>.json` in the
usual directories. No message repeats any part of a secret.
"""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path
from typing import Any
from uuid import UUID

from pyconnector.connector.api.errors import ConnectorError
from pyconnector.connector.config.model import Credentials
from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.tokens import decode_token

#: Largest credentials or token file that is read.
MAX_FILE_BYTES = 64 * 1024
#: Where `<tunnel id>.json` and a config file are looked for, in this order.
DEFAULT_DIRECTORIES = (
    "~/.cloudflared", "~/.cloudflare-warp", "~/cloudflare-warp", "/etc/cloudflared", "/usr/local/etc/cloudflared",
    "~/.pyconnector", "/etc/pyconnector",
)  # fmt: skip


class CredentialsError(ConnectorError):
    """No usable credentials; `setting` names what has to be changed. Caught by `connector.config.load`."""

    def __init__(self, setting: str, message: str) -> None:
        super().__init__(message)
        self.setting = setting


def from_token(text: str, *, setting: str = "token") -> Credentials:
    """Read a tunnel token.

    Raises:
        CredentialsError: it is none.
    """
    try:
        token = decode_token(text)
    except ProtocolError as error:
        raise CredentialsError(setting, f"the tunnel token is not valid: {error}") from None
    return Credentials(
        account_tag=token.account_tag, tunnel_id=token.tunnel_id, secret=token.secret, endpoint=token.endpoint
    )


def from_token_file(path: str) -> Credentials:
    """Read the tunnel token that the file `path` holds, white space around it ignored.

    Raises:
        CredentialsError: the file cannot be read, or holds no token.
    """
    data = _read(path, setting="token-file", what="token file")
    return from_token(data.decode("ascii", errors="replace").strip(), setting="token-file")


def from_file(path: str) -> Credentials:
    """Read a credentials file.

    Raises:
        CredentialsError: it cannot be read, or is no credentials file.
    """
    data = _read(path, setting="credentials-file", what="tunnel credentials file")
    try:
        return from_json(data, setting="credentials-file")
    except CredentialsError as error:
        hint = "; a .pem file proves an account, not a tunnel: name the tunnel's .json file" if ".pem" in path else ""
        raise CredentialsError("credentials-file", f"{path}: {error}{hint}") from None


def from_json(data: bytes, *, setting: str = "credentials-contents") -> Credentials:
    """Read the JSON of a credentials file. Keys match whatever their case, unknown ones are ignored.

    Raises:
        CredentialsError: it is no such JSON, or lacks a value.
    """
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        # Without a cause: it would quote the secret.
        raise CredentialsError(setting, "the tunnel credentials are not valid JSON") from None
    if not isinstance(fields, dict):
        raise CredentialsError(setting, "the tunnel credentials are not a JSON object")
    folded = {str(key).lower(): value for key, value in fields.items()}
    try:
        secret = base64.b64decode(_text(folded, "TunnelSecret", setting), validate=True)
    except ValueError:
        raise CredentialsError(setting, "TunnelSecret is not base64") from None
    try:
        tunnel_id = UUID(_text(folded, "TunnelID", setting))
    except ValueError:
        raise CredentialsError(setting, "TunnelID is not a UUID") from None
    endpoint = folded.get("endpoint")
    return Credentials(
        account_tag=_text(folded, "AccountTag", setting),
        tunnel_id=tunnel_id,
        secret=secret,
        endpoint=endpoint if isinstance(endpoint, str) else "",
    )


def find_file(tunnel_id: UUID) -> str | None:
    """Return the path of `<tunnel id>.json` in the first default directory that has it."""
    for directory in DEFAULT_DIRECTORIES:
        path = Path(directory).expanduser() / f"{tunnel_id}.json"
        if path.is_file():
            return str(path)
    return None


def permission_warning(path: str) -> str | None:
    """Return a sentence where other users of this machine may read the secret in `path`."""
    try:
        mode = Path(path).expanduser().stat().st_mode
    except OSError:
        return None
    if mode & (stat.S_IRGRP | stat.S_IROTH | stat.S_IWGRP | stat.S_IWOTH):
        return f"{path} can be read or written by other users (mode {stat.S_IMODE(mode):04o}); 0400 is enough"
    return None


def _text(fields: dict[str, Any], name: str, setting: str) -> str:
    value = fields.get(name.lower())
    if not isinstance(value, str) or not value:
        raise CredentialsError(setting, f"the tunnel credentials lack {name}")
    return value


def _read(path: str, *, setting: str, what: str) -> bytes:
    try:
        with Path(path).expanduser().open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise CredentialsError(setting, f"the {what} {path} does not exist") from None
    except OSError as error:
        raise CredentialsError(setting, f"the {what} {path} cannot be read: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise CredentialsError(setting, f"the {what} {path} is larger than {MAX_FILE_BYTES} bytes")
    return data
