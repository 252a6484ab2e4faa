"""What an edge is known by in its mesh: a key of its own, with a certificate of the control plane's authority."""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import ssl
import tempfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pyconnector.edge.directory.client import Gone, Unreachable
from pyconnector.edge.directory.values import DirectoryError
from pyconnector.edge.settings import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

    from pyconnector.edge.directory.client import ControlClient

#: Bytes of a kept identity.
MAX_FILE = 64 * 1024


@dataclass(frozen=True, slots=True)
class MeshIdentity:
    """A chain, its key and the authority, PEM."""

    chain: bytes
    authority: bytes
    key: bytes = field(repr=False)

    def server_context(self) -> ssl.SSLContext:
        """Return a context that lets in nobody but edges of this mesh."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_REQUIRED
        return self._prepared(context)

    def client_context(self) -> ssl.SSLContext:
        """Return a context that shows this identity, and takes no other end than an edge of this mesh."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.hostname_checks_common_name = False  # RFC 9525 6.3
        return self._prepared(context)

    def show_by(self, context: ssl.SSLContext) -> None:
        """Let a context of an earlier identity show this one in handshakes from now on."""
        self._prepared(context)

    def _prepared(self, context: ssl.SSLContext) -> ssl.SSLContext:
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(cadata=self.authority.decode("ascii"))
        # The library reads keys from files alone; this one is there for its owner alone, and for a moment.
        descriptor, path = tempfile.mkstemp(prefix="pyconnector-edge-", suffix=".pem")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(self.key + b"\n" + self.chain)
            context.load_cert_chain(path)
        finally:
            os.unlink(path)
        return context


async def obtain(client: ControlClient, kept: Path | None) -> MeshIdentity:
    """Ask the control plane for a certificate; while it is away take the one that is `kept`. Cancel gives it up.

    Raises:
        SettingsError: there is neither.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    try:
        chain, authority = await client.certificate(request.public_bytes(serialization.Encoding.PEM).decode("ascii"))
        x509.load_pem_x509_certificates(chain.encode("ascii"))
        x509.load_pem_x509_certificate(authority.encode("ascii"))
    except (Unreachable, Gone, DirectoryError, ValueError) as error:
        identity = await asyncio.to_thread(_load, kept)
        if identity is None:
            raise SettingsError(f"the edge cannot join the mesh: {error}") from error
        return identity
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    identity = MeshIdentity(chain.encode("ascii"), authority.encode("ascii"), pem)
    if kept is not None:
        await asyncio.to_thread(_save, kept, identity)
    return identity


def _load(path: Path | None) -> MeshIdentity | None:
    if path is None or not path.exists():
        return None
    try:
        with path.open("rb") as file:
            fields = json.loads(file.read(MAX_FILE))
        identity = MeshIdentity(*(fields[name].encode("ascii") for name in ("chain", "authority", "key")))
        own = x509.load_pem_x509_certificates(identity.chain)[0]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return identity if own.not_valid_after_utc > datetime.datetime.now(datetime.UTC) else None


def _save(path: Path, identity: MeshIdentity) -> None:
    fields = {name: getattr(identity, name).decode("ascii") for name in ("chain", "authority", "key")}
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                json.dump(fields, file)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise SettingsError(f"the edge's certificate cannot be kept in {path}: {error.strerror or error}") from error
