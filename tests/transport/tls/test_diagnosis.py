from __future__ import annotations

import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pyconnector.transport.tls.certificates import make_authority
from pyconnector.transport.tls.diagnosis import diagnosis

NOW = datetime.datetime.now(datetime.UTC)


def certificate(*names: str) -> bytes:
    chain, _ = make_authority("tests").issue(list(names))
    return x509.load_pem_x509_certificates(chain)[0].public_bytes(Encoding.DER)


def test_dates_and_names_are_looked_at() -> None:
    der = certificate("a.test", "*.b.test", "192.0.2.1")
    assert diagnosis(der, "A.test", NOW) is None
    assert diagnosis(der, "x.b.test", NOW) is None
    assert diagnosis(der, "192.0.2.1", NOW) is None
    assert diagnosis(der, "x.y.b.test", NOW) == "it is for a.test, *.b.test, 192.0.2.1 and not for x.y.b.test"
    assert "it expired on " in (diagnosis(der, "a.test", NOW + datetime.timedelta(days=36_500)) or "")
    assert "it is not valid before " in (diagnosis(der, "a.test", NOW - datetime.timedelta(days=3_650)) or "")


def test_what_is_no_certificate_is_left_alone() -> None:
    assert diagnosis(b"nonsense", "a.test", NOW) is None
