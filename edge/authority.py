"""The certificate authority of a local edge: made at the first start, kept in two files, loaded ever after.

Connectors are told to trust `ca.pem`. The certificate that the edge shows is issued at each start and not stored.
"""

from __future__ import annotations

import datetime
import os
import stat
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from pyconnector.edge.settings import SettingsError
from pyconnector.transport.tls.certificates import Authority, make_authority

if TYPE_CHECKING:
    from pathlib import Path

CERTIFICATE_FILE = "ca.pem"
KEY_FILE = "ca-key.pem"
AUTHORITY_NAME = "pyconnector local edge"
#: Names and addresses that connectors verify: those of wire.md 1, and the local ones.
EDGE_NAMES = ("quic.cftunnel.com", "h2.cftunnel.com", "probe.cftunnel.com", "localhost", "127.0.0.1", "::1")
#: Bytes of a file that may be a certificate or key.
MAX_FILE_BYTES = 64 * 1024


def load_or_make_authority(directory: Path) -> Authority:
    """Return the authority kept in `directory`, making both at the first time.

    Raises:
        SettingsError: the files are incomplete, unreadable, expired or no pair, or others can read the key.
    """
    certificate, key = directory / CERTIFICATE_FILE, directory / KEY_FILE
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not certificate.exists() and not key.exists():
            authority = make_authority(AUTHORITY_NAME)
            write_new(key, authority.private_key_pem, 0o600)
            write_new(certificate, authority.certificate_pem, 0o644)
            return authority
        return _loaded(certificate, key)
    except OSError as exc:
        raise SettingsError(f"the certificate authority in {directory} cannot be used: {exc.strerror or exc}") from exc


def write_new(path: Path, data: bytes, mode: int) -> None:
    """Write a file that must not be there yet, open to `mode` alone from its first moment.

    Raises:
        OSError: it is there, or cannot be written.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def _loaded(certificate: Path, key: Path) -> Authority:
    for path in (certificate, key):
        if not path.exists():
            raise SettingsError(f"{path} is missing beside the other half of the certificate authority")
    if os.name == "posix" and stat.S_IMODE(key.stat().st_mode) & 0o077:
        raise SettingsError(f"{key} can be read by others than its owner: allow only that one (mode 0600)")
    authority = Authority(_read(certificate), _read(key))
    try:
        parsed = x509.load_pem_x509_certificate(authority.certificate_pem)
        private = serialization.load_pem_private_key(authority.private_key_pem, password=None)
        belongs = private.public_key() == parsed.public_key()
    except (ValueError, TypeError) as exc:
        raise SettingsError(f"{certificate} and {key} are not a certificate and its key") from exc
    if not belongs:
        raise SettingsError(f"{key} is not the key of {certificate}")
    if parsed.not_valid_after_utc <= datetime.datetime.now(datetime.UTC):
        raise SettingsError(f"{certificate} has expired: remove it and {key.name}, and give connectors the new one")
    return authority


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise SettingsError(f"{path} is too large to be a certificate or a key")
    return data
