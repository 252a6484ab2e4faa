"""The authority is made once, kept with care, and refused where it is not what it should be."""

from __future__ import annotations

import datetime
import os
import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509

from pyconnector.edge import SettingsError
from pyconnector.edge.authority import CERTIFICATE_FILE, EDGE_NAMES, KEY_FILE, MAX_FILE_BYTES, load_or_make_authority
from pyconnector.transport.tls import certificates


def test_it_is_made_once_and_loaded_after(tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "ca"
    made = load_or_make_authority(directory)
    assert stat.S_IMODE((directory / KEY_FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert (directory / CERTIFICATE_FILE).read_bytes() == made.certificate_pem
    assert load_or_make_authority(directory) == made
    assert b"PRIVATE" not in repr(made).encode()


def test_what_it_issues_is_good_for_every_name_of_the_edge(tmp_path: Path) -> None:
    authority = load_or_make_authority(tmp_path)
    chain, _ = authority.issue(list(EDGE_NAMES))
    leaf = x509.load_pem_x509_certificate(chain)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [
        "quic.cftunnel.com",
        "h2.cftunnel.com",
        "probe.cftunnel.com",
        "localhost",
    ]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate_pem))
    ssl.create_default_context(cadata=authority.certificate_pem.decode())


def _missing_key(directory: Path) -> None:
    (directory / KEY_FILE).unlink()


def _missing_certificate(directory: Path) -> None:
    (directory / CERTIFICATE_FILE).unlink()


def _open_key(directory: Path) -> None:
    (directory / KEY_FILE).chmod(0o640)


def _garbage_key(directory: Path) -> None:
    (directory / KEY_FILE).write_bytes(b"garbage")


def _garbage_certificate(directory: Path) -> None:
    (directory / CERTIFICATE_FILE).write_bytes(b"garbage")


def _huge(directory: Path) -> None:
    (directory / CERTIFICATE_FILE).write_bytes(b"x" * (MAX_FILE_BYTES + 1))


def _other_key(directory: Path) -> None:
    (directory / KEY_FILE).write_bytes(certificates.make_authority("other").private_key_pem)


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (_missing_key, "missing"),
        (_missing_certificate, "missing"),
        (_open_key, "read by others"),
        (_garbage_key, "not a certificate and its key"),
        (_garbage_certificate, "not a certificate and its key"),
        (_huge, "too large"),
        (_other_key, "not the key of"),
    ],
)
def test_what_is_not_as_it_should_be_is_refused(tmp_path: Path, harm: object, sentence: str) -> None:
    load_or_make_authority(tmp_path)
    harm(tmp_path)  # type: ignore[operator]
    with pytest.raises(SettingsError, match=sentence):
        load_or_make_authority(tmp_path)


def test_an_expired_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "LIFETIME", datetime.timedelta(seconds=-1))
    load_or_make_authority(tmp_path)
    with pytest.raises(SettingsError, match="expired"):
        load_or_make_authority(tmp_path)


def test_a_directory_that_cannot_be_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="cannot be used"):
        load_or_make_authority(tmp_path / "file" / "ca")
    assert os.listdir(tmp_path) == ["file"]
