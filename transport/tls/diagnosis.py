"""What is wrong with a certificate that a TLS library refused without saying why."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

#: Names of a certificate that are listed at most.
_NAMES = 5


def diagnosis(der: bytes, server_name: str, now: datetime.datetime) -> str | None:
    """Return what is wrong with the certificate `der` of a server called `server_name` at `now` (with a time zone).

    None where dates and names are as they should be, or it cannot be read: then it is the authority, or the form.
    """
    # Not at the top: it costs 8 MB, and few certificates are ever refused.
    from cryptography import x509

    try:
        certificate = x509.load_der_x509_certificate(der)
        names = _names(certificate)
    except ValueError:
        return None
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now > end:
        return f"it expired on {end:%Y-%m-%d}"
    if now < begin:
        return f"it is not valid before {begin:%Y-%m-%d %H:%M} UTC; is this machine's clock right?"
    if not names:
        return "it has no names (subjectAltName)"
    if not any(_covers(name, server_name) for name in names):
        listed = ", ".join(names[:_NAMES]) + (", ..." if len(names) > _NAMES else "")
        return f"it is for {listed} and not for {server_name}"
    return None


def _names(certificate: Certificate) -> list[str]:
    from cryptography import x509

    try:
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    addresses = [str(each) for each in alternatives.get_values_for_type(x509.IPAddress)]
    return alternatives.get_values_for_type(x509.DNSName) + addresses


def _covers(pattern: str, name: str) -> bool:
    pattern, name = pattern.lower(), name.lower()
    if pattern.startswith("*."):
        return name.partition(".")[2] == pattern[2:]
    return pattern == name
