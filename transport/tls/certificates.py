"""A small certificate authority for edges that are not Cloudflare's: the local edge, tests, the bench.

Keys are ECDSA P-256, certificates are valid for ten years, and every private key stays out of reprs.
"""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

#: How long certificates are valid; they begin a day early, for clocks that are behind.
LIFETIME = datetime.timedelta(days=3650)
_HEAD_START = datetime.timedelta(days=1)
#: Longest common name that X.509 allows (RFC 5280, appendix A).
_COMMON_NAME = 64


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority: `certificate_pem` is what others trust."""

    certificate_pem: bytes
    private_key_pem: bytes = field(repr=False)

    def issue(self, names: list[str]) -> tuple[bytes, bytes]:
        """Return a chain and a private key, both PEM, for a server that is known by `names` (DNS names or IPs).

        Raises:
            ValueError: `names` is empty or holds something that is neither.
        """
        if not names:
            raise ValueError("a server certificate needs at least one name")
        issuer = x509.load_pem_x509_certificate(self.certificate_pem)
        issuer_key = serialization.load_pem_private_key(self.private_key_pem, password=None)
        assert isinstance(issuer_key, ec.EllipticCurvePrivateKey)
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            _builder(names[0], issuer.subject, key)
            .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        )
        certificate = builder.sign(issuer_key, hashes.SHA256())
        chain = certificate.public_bytes(serialization.Encoding.PEM) + self.certificate_pem
        return chain, _key_pem(key)


def make_authority(name: str) -> Authority:
    """Return a new authority called `name`."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:_COMMON_NAME])])
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        _builder(name, subject, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate.public_bytes(serialization.Encoding.PEM), _key_pem(key))


def _builder(name: str, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:_COMMON_NAME])]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _HEAD_START)
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
