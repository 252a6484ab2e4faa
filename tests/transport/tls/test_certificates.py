"""Certificates of the small authority satisfy OpenSSL for the names they were issued for, and only for those."""

from __future__ import annotations

import ssl

import pytest

from pyconnector.transport.tls.certificates import Authority, make_authority


def _handshake(authority: Authority, names: list[str], wanted: str, tmp_path: object) -> None:
    chain, key = authority.issue(names)
    path = f"{tmp_path}/server.pem"
    with open(path, "wb") as file:
        file.write(chain + key)
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(path)
    client_context = ssl.create_default_context(cadata=authority.certificate_pem.decode())
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname=wanted)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for end in (client, server):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert client.version() == "TLSv1.3"


@pytest.mark.parametrize("name", ["quic.cftunnel.com", "127.0.0.1", "::1"])
def test_an_issued_certificate_is_trusted_for_its_names(name: str, tmp_path: object) -> None:
    _handshake(make_authority("test authority"), ["other.test", name], name, tmp_path)


def test_an_issued_certificate_is_not_trusted_for_another_name(tmp_path: object) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(make_authority("test authority"), ["a.test"], "b.test", tmp_path)


def test_a_certificate_needs_a_name() -> None:
    with pytest.raises(ValueError, match="at least one name"):
        make_authority("test authority").issue([])


def test_private_keys_stay_out_of_the_repr() -> None:
    authority = make_authority("test authority")
    assert "PRIVATE" not in repr(authority)
    assert b"PRIVATE" in authority.private_key_pem
