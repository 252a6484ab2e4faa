"""The certificates that visitors are shown, by SNI, read anew when their files change."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import stat
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509

from pyconnector.edge.settings import SettingsError
from pyconnector.edge.visitors.tls.arrival import IN_THE_CLEAR, Arrival, covers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pyconnector.edge.settings import CertificatePair

#: What visitors may speak, best first.
ALPN = ["h2", "http/1.1"]
#: What HTTP/2 allows of TLS 1.2 (RFC 9113 9.2.2): forward secrecy and AEAD.
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
#: Bytes of a certificate file.
MAX_FILE = 1024 * 1024
#: Seconds between two looks at the files.
LOOK_EVERY = 2.0

_log = logging.getLogger("pyconnector.edge")


@dataclass(frozen=True, slots=True)
class Loaded:
    """One pair as it is shown."""

    context: ssl.SSLContext
    names: frozenset[str]
    seen: tuple[object, ...]
    "What the files looked like."


class VisitorCertificates:
    """Pairs of certificate and key; the first is shown to whoever asks for a name that none has, or for none."""

    def __init__(self, pairs: Sequence[CertificatePair]) -> None:
        """Load them.

        Raises:
            SettingsError: a file cannot be used.
        """
        self._pairs = tuple(pairs)
        self._loaded = [load(pair.certificate, pair.key) for pair in self._pairs]
        self._failed: dict[int, tuple[object, ...]] = {}
        self._asked: weakref.WeakKeyDictionary[object, tuple[str, Loaded]] = weakref.WeakKeyDictionary()
        self.context = _context()
        "For the listener: it gives way to the context of the certificate that is shown."
        self.context.sni_callback = self._choose

    def __repr__(self) -> str:
        return f"<VisitorCertificates {[sorted(loaded.names) for loaded in self._loaded]}>"

    def arrival(self, transport: asyncio.BaseTransport) -> Arrival:
        """Return how the visitor of a transport came."""
        connection = transport.get_extra_info("ssl_object")
        if connection is None:
            return IN_THE_CLEAR
        name, loaded = self._asked.get(connection, ("", self._loaded[0]))
        return Arrival(scheme="https", server_name=name, covered=loaded.names)

    async def keep_fresh(self) -> None:
        """Look at the files from time to time, and load those that changed, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            await self.look()

    async def look(self) -> None:
        """Load what changed since the last look; what cannot be used leaves the one before in place, and is told."""
        for place, pair in enumerate(self._pairs):
            seen = await asyncio.to_thread(look_at, pair.certificate, pair.key)
            if seen in (self._loaded[place].seen, self._failed.get(place)):
                continue
            try:
                self._loaded[place] = await asyncio.to_thread(load, pair.certificate, pair.key)
            except SettingsError as error:
                self._failed[place] = seen
                _log.error("The certificate for visitors stays as it was: %s", error)
            else:
                self._failed.pop(place, None)
                _log.info("Loaded %s: it changed", pair.certificate)

    def _choose(self, connection: ssl.SSLObject, asked: str | None, context: ssl.SSLContext) -> int | None:
        # Called by OpenSSL in the middle of the handshake, for visitors without SNI too.
        name = (asked or "").lower().removesuffix(".")
        loaded = next((loaded for loaded in self._loaded if covers(loaded.names, name)), self._loaded[0])
        self._asked[connection] = name, loaded
        connection.context = loaded.context
        return None


def load(certificate: Path, key: Path) -> Loaded:
    """Return a pair as it is in its files.

    Raises:
        SettingsError: a file cannot be read, the two do not fit, or everybody of this machine can read the key.
    """
    seen = look_at(certificate, key)
    context = _context()
    try:
        open_to_all = os.name == "posix" and stat.S_IMODE(key.stat().st_mode) & stat.S_IROTH
        # An encrypted key would be asked for on the terminal.
        context.load_cert_chain(certificate, key, password=_no_password)
        names = _names(certificate)
    except ssl.SSLError as error:
        reason = error.reason or error
        raise SettingsError(f"{certificate} and {key} are no certificate and its key ({reason})") from error
    except OSError as error:
        raise SettingsError(f"{error.filename or certificate} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise SettingsError(f"{certificate} holds no certificate, or {key} an encrypted key") from error
    if open_to_all:
        raise SettingsError(f"{key} can be read by everybody: allow only its owner, perhaps a group (mode 0640)")
    return Loaded(context, names, seen)


def look_at(*files: Path) -> tuple[object, ...]:
    """Return what tells one state of the files from another. A file that is away is a state."""
    states: list[object] = []
    for file in files:
        try:
            found = file.stat()
            states.append((found.st_mtime_ns, found.st_size, found.st_ino))
        except OSError:
            states.append(None)
    return tuple(states)


def _names(certificate: Path) -> frozenset[str]:
    with certificate.open("rb") as file:
        first = x509.load_pem_x509_certificates(file.read(MAX_FILE))[0]
    try:
        names = first.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    found = [name.lower() for name in names.get_values_for_type(x509.DNSName)]
    found += [
        f"[{address}]" if address.version == 6 else str(address)
        for address in names.get_values_for_type(x509.IPAddress)
    ]
    return frozenset(found)


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(ALPN)
    return context


def _no_password() -> str:
    raise ValueError("the key is encrypted")
