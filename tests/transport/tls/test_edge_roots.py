"""An edge must lead to the system's authorities or Cloudflare's, or to those of the one file a user names."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pyconnector.transport.errors import ConnectFailed
from pyconnector.transport.tls import edge_roots
from pyconnector.transport.tls.certificates import make_authority
from pyconnector.transport.tls.edge_roots import CLOUDFLARE_ROOTS, find_roots, read_roots, system_roots

if TYPE_CHECKING:
    from pathlib import Path


def test_the_built_in_authorities_are_the_known_ones() -> None:
    digests = [
        hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()[:16]
        for certificate in x509.load_pem_x509_certificates(CLOUDFLARE_ROOTS)
    ]
    # wire.md 1
    assert digests == ["aa63697a22764b67", "d3c7e85c91707fc0", "9a1ac2b4be15f9f2"]


def test_by_default_the_system_and_cloudflare_are_trusted() -> None:
    roots = find_roots(None)
    assert roots.path == system_roots()
    assert roots.extra == CLOUDFLARE_ROOTS
    assert read_roots(None).endswith(CLOUDFLARE_ROOTS)


def test_a_named_file_replaces_them_all(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    pem = make_authority("one").certificate_pem
    path.write_bytes(pem)
    assert find_roots(str(path)) == edge_roots.Roots(str(path), b"")
    assert x509.load_pem_x509_certificates(read_roots(str(path))) == x509.load_pem_x509_certificates(pem)


def test_a_file_that_vouches_for_nobody_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_bytes(b"# nothing\n")
    with pytest.raises(ConnectFailed, match="no certificate"):
        find_roots(str(tmp_path / "empty.pem"))
    with pytest.raises(ConnectFailed, match="cannot read"):
        read_roots(str(tmp_path / "missing.pem"))
    pem = make_authority("one").certificate_pem
    (tmp_path / "damaged.pem").write_bytes(pem[:200] + b"AAAA" + pem[204:])
    with pytest.raises(ConnectFailed, match="damaged"):
        find_roots(str(tmp_path / "damaged.pem"))


def test_certifi_stands_in_where_the_system_has_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
    assert "certifi" in system_roots()
