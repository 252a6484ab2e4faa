"""TLS towards local services: which authorities are trusted, whose name is expected, and what a refusal means.

Verification is OpenSSL's own, names included. Nothing here decides that a certificate is good.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from pyconnector.origins.failures import quoted
from pyconnector.origins.net.ca_pool import read_pool, unusable
from pyconnector.web.cloudflare_roots import CLOUDFLARE_ORIGIN_ROOTS

#: Names of a certificate that a sentence lists.
MAX_NAMES_SHOWN = 8
#: Seconds for the second look at a certificate whose names did not fit.
NAMES_TIMEOUT = 2.0
#: Seconds that stand for "no limit", which neither asyncio nor uvloop has for a handshake.
NO_LIMIT = 24 * 3600.0

# X509_V_ERR_* of OpenSSL (x509_vfy.h).
_NOT_YET_VALID = 9
_EXPIRED = 10
_UNKNOWN_AUTHORITY = frozenset({2, 18, 19, 20, 21, 24, 27})
_WRONG_NAME = frozenset({62, 64})

P = TypeVar("P", bound=asyncio.BaseProtocol)


class TlsRefused(Exception):
    """A handshake came to nothing; caught by the dialer, which makes it an `OriginError`."""

    def __init__(self, cause: str, *, wrong_name: bool = False) -> None:
        super().__init__(cause)
        self.cause = cause
        self.wrong_name = wrong_name


@dataclass(slots=True, kw_only=True, eq=False)
class TlsClient:
    """How one service is spoken to over TLS. `timeout` in seconds, 0 for none."""

    context: ssl.SSLContext
    timeout: float = 10.0

    async def handshake(
        self, sock: socket.socket, factory: Callable[[], P], *, server_name: str, shown: str
    ) -> tuple[asyncio.Transport, P]:
        """Turn a connected socket into a TLS transport with a new protocol on it.

        The socket is closed unless this returns; cancel closes it too.

        Raises:
            TlsRefused: no TLS came to be; `shown` is what its sentence calls the service.
        """
        server_name = server_name.removesuffix(".")  # neither SNI nor certificates have it (RFC 6066 3)
        if not _can_ask_for(self.context, server_name):
            sock.close()
            raise TlsRefused(f"{quoted(server_name)} is no name to ask {shown} for over TLS")
        try:
            async with asyncio.timeout(self.timeout or None):
                return await asyncio.get_running_loop().create_connection(
                    factory,
                    sock=sock,
                    ssl=self.context,
                    server_hostname=server_name,
                    ssl_handshake_timeout=None if sock.family == socket.AF_UNIX else NO_LIMIT,
                )
        except BaseException as error:
            if isinstance(error, ssl.CertificateError):
                raise _unverified(error, server_name, shown) from error
            if isinstance(error, TimeoutError):
                raise TlsRefused(f"the TLS handshake with {shown} took longer than {self.timeout:g} s") from error
            if isinstance(error, ssl.SSLError):
                raise TlsRefused(_handshake_cause(error, shown)) from error
            if isinstance(error, OSError):
                raise TlsRefused(f"{shown} closed the connection during the TLS handshake") from error
            raise

    async def names_shown(self, sock: socket.socket, server_name: str) -> tuple[str, ...]:
        """Which names the service's certificate has, verified or not; nothing else is ever done with that connection.

        Cancel closes it.
        """
        blind = TlsClient(context=_blind_context(), timeout=NAMES_TIMEOUT)
        transport, _ = await blind.handshake(sock, asyncio.Protocol, server_name=server_name, shown="")
        try:
            session: ssl.SSLObject = transport.get_extra_info("ssl_object")
            return names_in(session.getpeercert(binary_form=True) or b"")
        finally:
            transport.abort()


class TlsContexts:
    """Client contexts by what they trust, each made once: loading the system's roots takes tens of milliseconds."""

    def __init__(self, extra_roots: str = "") -> None:
        self._extra_roots = extra_roots
        self._made: dict[tuple[str, bool, tuple[str, ...]], ssl.SSLContext] = {}

    def client(
        self, *, ca_pool: str = "", verify: bool = True, alpn: tuple[str, ...] = (), log: bool = True
    ) -> ssl.SSLContext:
        """Return the context that trusts the system's roots, the edge vendor's origin roots and the file `ca_pool`.

        Raises:
            OriginError: `ca_pool` cannot be read or holds no certificate (the reference only logs the latter; a
                setting that resolves to nothing stops the start here).

        The cause is in the log alone, unless `log` is false: whoever asks in advance leaves it to who asks in earnest.
        Safe to call from another thread: what two of them make at once is the same.
        """
        key = (ca_pool, verify, alpn)
        if key not in self._made:
            self._made[key] = self._make(ca_pool, verify, alpn, log=log)
        return self._made[key]

    def _make(self, ca_pool: str, verify: bool, alpn: tuple[str, ...], *, log: bool) -> ssl.SSLContext:
        context = _client_context()
        if alpn:
            context.set_alpn_protocols(list(alpn))
        pool = read_pool(ca_pool, log=log) if ca_pool else ""
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return context
        # As in the reference, any certificate in the pool is an anchor, not only self-signed ones.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_default_certs()
        if not _system_has_roots(context):
            import certifi

            context.load_verify_locations(cafile=certifi.where())
        context.load_verify_locations(cadata=CLOUDFLARE_ORIGIN_ROOTS + self._extra_roots)
        if pool:
            try:
                context.load_verify_locations(cadata=pool)
            except ssl.SSLError as error:
                raise unusable(ca_pool, f"it holds no certificate that can be read ({error})", log=log) from error
        return context


def _can_ask_for(context: ssl.SSLContext, server_name: str) -> bool:
    """Whether OpenSSL takes `server_name`; the event loops do not clean up well after one that it does not."""
    try:
        context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=server_name)
    except (ValueError, TypeError, ssl.SSLError):  # too long, empty labels, NUL, not encodable
        return False
    return True


def names_in(certificate: bytes) -> tuple[str, ...]:
    """The DNS names and addresses that a DER certificate is for, fit to be shown; none where it has no SAN."""
    from cryptography import x509  # 10 MB that only an explanation is worth

    extensions = x509.load_der_x509_certificate(certificate).extensions
    try:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    found = [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]
    shown = tuple(quoted(name) for name in found[:MAX_NAMES_SHOWN])
    return (*shown, "…") if len(found) > MAX_NAMES_SHOWN else shown


def alert_in(error: BaseException | None) -> str:
    """The TLS alert that ended a connection after its handshake, as ` (TLS alert: ...)`; empty where none did.

    A service on TLS 1.3 says only then that it wants a client certificate (RFC 8446 4.4.2.4).
    """
    reason = error.reason if isinstance(error, ssl.SSLError) and error.reason else ""
    _, alert, name = reason.partition("ALERT_")
    return f" (TLS alert: {quoted(name).replace('_', ' ').lower()})" if alert else ""


def _system_has_roots(context: ssl.SSLContext) -> bool:
    if context.cert_store_stats()["x509_ca"]:
        return True
    directory = ssl.get_default_verify_paths().capath  # OpenSSL reads this one lazily: it is in no statistics
    try:
        return bool(directory) and any(os.scandir(directory))
    except OSError:
        return False


def _client_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not ssl.HAS_NEVER_CHECK_COMMON_NAME:
        return context  # this build cannot even be told not to
    context.hostname_checks_common_name = False  # RFC 9525 6.3: only a subjectAltName names a service
    return context


def _blind_context() -> ssl.SSLContext:
    context = _client_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _unverified(error: ssl.CertificateError, server_name: str, shown: str) -> TlsRefused:
    code = error.verify_code
    name = quoted(server_name)
    if code in _WRONG_NAME:
        return TlsRefused(f"the certificate of {shown} does not fit {name}", wrong_name=True)
    if code == _EXPIRED:
        return TlsRefused(f"the certificate of {shown} has expired")
    if code == _NOT_YET_VALID:
        return TlsRefused(f"the certificate of {shown} is not valid yet")
    if code in _UNKNOWN_AUTHORITY:
        return TlsRefused(
            f"the certificate of {shown} was issued by an unknown authority ({error.verify_message}); "
            "caPool names a file with authorities to trust"
        )
    return TlsRefused(f"the certificate of {shown} was refused: {error.verify_message}")


def _handshake_cause(error: ssl.SSLError, shown: str) -> str:
    reason = error.reason or str(error)
    if reason in {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"}:
        return f"{shown} does not speak TLS"
    return f"the TLS handshake with {shown} failed ({quoted(reason).replace('_', ' ').lower()})"
