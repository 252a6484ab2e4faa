"""`cert.pem`: what proves an account, and where it is looked for (cli.md 3)."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from pyconnector.connector.cli.account.errors import CommandFailed
from pyconnector.connector.config.credentials import DEFAULT_DIRECTORIES

FILE_NAME = "cert.pem"
#: Bytes of a file that may be one.
MAX_BYTES = 256 * 1024
_BLOCK = re.compile(r"-----BEGIN ([A-Z ]+)-----\s+(.*?)-----END \1-----", re.DOTALL)
_TOKEN = "ARGO TUNNEL TOKEN"
_IGNORED = {"PRIVATE KEY", "CERTIFICATE"}


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginCert:
    """The account, its zone, and the token that proves it."""

    path: Path
    zone_id: str
    account_id: str
    api_token: str = field(repr=False)
    endpoint: str = ""
    api_url: str = ""
    "The API that the token is for, where the file says so; empty: the provider's."


def find_origin_cert(given: str | None) -> OriginCert:
    """Return the certificate at the path that was given, or in the first usual place that has one.

    Raises:
        CommandFailed: there is none, or it cannot be used.
    """
    if given:
        path = Path(given).expanduser()
        if not path.is_file():
            raise CommandFailed(f"Error locating origin cert: cannot find a valid certificate at the path {given}")
        return _read(path)
    for directory in DEFAULT_DIRECTORIES:
        path = Path(directory).expanduser() / FILE_NAME
        if path.is_file():
            return _read(path)
    places = " ".join(DEFAULT_DIRECTORIES)
    raise CommandFailed(
        f"Error locating origin cert: client didn't specify origincert path, and none of [{places}] has a {FILE_NAME}"
    )


def _read(path: Path) -> OriginCert:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES)
    except OSError as error:
        raise CommandFailed(f"Error locating origin cert: {path} cannot be read: {error.strerror or error}") from None
    return parse_origin_cert(data.decode("ascii", "replace"), path)


def parse_origin_cert(text: str, path: Path) -> OriginCert:
    """Return what the text of a certificate says.

    Raises:
        CommandFailed: it is none. No part of it is repeated.
    """
    tokens = []
    for kind, payload in _BLOCK.findall(text):
        if kind == _TOKEN:
            tokens.append(payload)
        elif kind not in _IGNORED:
            raise CommandFailed(f"{path}: unknown block {kind} in the certificate")
    if len(tokens) > 1:
        raise CommandFailed(f"{path}: found multiple tokens in the certificate")
    try:
        fields = json.loads(base64.b64decode("".join(tokens[0].split()), validate=True))
        zone, account, token = (fields[name] for name in ("zoneID", "accountID", "apiToken"))
        endpoint, api_url = fields.get("endpoint") or "", fields.get("apiURL") or ""
        texts = (zone, account, token, endpoint, api_url)
        if not all(isinstance(value, str) for value in texts) or not zone or not token:
            raise ValueError
    except (IndexError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise CommandFailed(f"{path}: missing token in the certificate") from None
    if not account:
        raise CommandFailed(f"{path}: it names no account: log in again")
    if api_url and not api_url.startswith(("http://", "https://")):
        raise CommandFailed(f"{path}: its apiURL is no http:// or https:// address")
    return OriginCert(
        path=path, zone_id=zone, account_id=account, api_token=token, endpoint=endpoint.lower(), api_url=api_url
    )
