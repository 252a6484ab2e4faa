"""The certificate authority of the mesh: edges prove themselves by it to connectors and to each other."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pyconnector.control.store.errors import Invalid
from pyconnector.control.store.models import Setting
from pyconnector.control.store.work import Actor, Work

if TYPE_CHECKING:
    from pyconnector.control.store.database import Database

#: What edges are known by: the names that connectors verify (wire.md 1), and this machine's.
NAMES = ("quic.cftunnel.com", "h2.cftunnel.com", "probe.cftunnel.com", "localhost", "127.0.0.1", "::1")
#: How long the authority and an edge's certificate are valid; an edge gets a new one at each start.
AUTHORITY_LIFETIME, LIFETIME = datetime.timedelta(days=3650), datetime.timedelta(days=365)
_HEAD_START = datetime.timedelta(days=1)
_CERTIFICATE, _KEY = "edge_authority", "edge_authority_key"


@dataclass(frozen=True, slots=True)
class MeshAuthority:
    """A certificate and its key, PEM."""

    certificate: str
    key: str = field(repr=False)


async def authority_of(database: Database, offered: MeshAuthority | None) -> MeshAuthority:
    """Return the authority of a database: the one in it, else `offered`, else a new one. Cancel leaves it made or not.

    Raises:
        StoreUnavailable: the database cannot be used.
    """

    async def operation(work: Work) -> MeshAuthority:
        certificate = await work.session.get(Setting, _CERTIFICATE)
        key = await work.session.get(Setting, _KEY)
        if certificate is not None and key is not None:
            return MeshAuthority(certificate.value, key.value)
        made = offered or make_authority(work.now)
        work.session.add_all([Setting(name=_CERTIFICATE, value=made.certificate), Setting(name=_KEY, value=made.key)])
        return made

    return await database.write(Actor(account_id=""), operation)


def make_authority(now: datetime.datetime) -> MeshAuthority:
    """Return a new authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pyconnector mesh")])
    certificate = (
        _builder(subject, subject, key.public_key(), now, AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False,
                key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    return MeshAuthority(
        certificate.public_bytes(serialization.Encoding.PEM).decode("ascii"),
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode("ascii"),
    )


def issue(authority: MeshAuthority, request: str, now: datetime.datetime) -> str:
    """Return the chain for the key of a certificate request (PKCS #10), as a server and as a client.

    What names the request asks for is of no account: every edge has the same.

    Raises:
        Invalid: it is no request, or not signed by its own key.
    """
    try:
        asked = x509.load_pem_x509_csr(request.encode("ascii"))
        key = asked.public_key()
        if not asked.is_signature_valid or not isinstance(key, ec.EllipticCurvePublicKey):
            raise ValueError
    except ValueError:
        raise Invalid("csr is no PKCS #10 request with an elliptic curve key.", 1001) from None
    issuer = x509.load_pem_x509_certificate(authority.certificate.encode("ascii"))
    issuer_key = serialization.load_pem_private_key(authority.key.encode("ascii"), password=None)
    assert isinstance(issuer_key, ec.EllipticCurvePrivateKey)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAMES[0])])
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate = (
        _builder(subject, issuer.subject, key, now, LIFETIME)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in NAMES]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii") + authority.certificate


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime.datetime,
    lifetime: datetime.timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _HEAD_START)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
