"""TLS for visitors: the certificate of the name that they ask for, HTTP/2 and HTTP/1.1, files that change."""

from __future__ import annotations

import asyncio
import os
import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest

from pyconnector.edge import CertificatePair, SettingsError, VisitorSettings
from pyconnector.edge.cli_settings import certificate_pairs
from pyconnector.edge.visitors.tls.arrival import Arrival
from pyconnector.edge.visitors.tls.certificates import VisitorCertificates, load
from pyconnector.transport.tls.certificates import Authority, make_authority
from tests.edge.support import memory_edge
from tests.support.peers.scripted_connector import Exchange, connected

pytestmark = pytest.mark.usefixtures("each_loop")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return make_authority("visitors")


def pair(authority: Authority, directory: Path, *names: str) -> CertificatePair:
    chain, key = authority.issue(list(names))
    directory.mkdir(exist_ok=True)
    stem = names[0].replace("*", "any")
    made = CertificatePair(certificate=directory / f"{stem}.pem", key=directory / f"{stem}.key")
    made.certificate.write_bytes(chain)
    made.key.write_bytes(key)
    made.key.chmod(0o600)
    return made


def over_tls(*pairs: CertificatePair) -> VisitorSettings:
    return VisitorSettings(tls_address=("127.0.0.1", 0), certificates=pairs)


def trusting(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=authority.certificate_pem.decode())


class Visitor:
    """Asks for names at one address, over a version of HTTP."""

    def __init__(self, address: tuple[str, int], authority: Authority, *, http2: bool) -> None:
        self._url = "https://{}:{}/p".format(*address)
        self._options: dict[str, Any] = {
            "verify": trusting(authority), "http1": not http2, "http2": http2, "trust_env": False,
        }  # fmt: skip

    async def get(self, name: str, host: str | None = None) -> httpx.Response:
        """One request on a connection of its own."""
        async with httpx.AsyncClient(**self._options) as client:
            return await client.get(self._url, headers={"Host": host or name}, extensions={"sni_hostname": name})


@pytest.mark.parametrize("http2", [False, True])
async def test_each_name_has_its_certificate(authority: Authority, tmp_path: Path, http2: bool) -> None:
    heads: list[Exchange] = []

    async def script(exchange: Exchange) -> None:
        heads.append(exchange)
        await exchange.answer(200)
        exchange.stream.finish()

    pairs = [pair(authority, tmp_path, "a.test", "b.test"), pair(authority, tmp_path, "*.deep.test")]
    async with memory_edge(visitors=over_tls(*pairs)) as edge:
        await connected(edge, script)
        assert edge.visitor_tls_address is not None
        visitor = Visitor(edge.visitor_tls_address, authority, http2=http2)
        found = await visitor.get("a.test")
        assert (found.status_code, found.http_version) == (200, "HTTP/2" if http2 else "HTTP/1.1")
        assert (await visitor.get("x.deep.test", "X.deep.test:443")).status_code == 200
        with pytest.raises(httpx.ConnectError, match=r"Hostname mismatch"):
            await visitor.get("other.test")
    assert [exchange.request.dest for exchange in heads] == ["http://a.test/p", "http://x.deep.test/p"]
    assert [exchange.headers("X-Forwarded-Proto") for exchange in heads] == [["https"]] * 2


@pytest.mark.parametrize("http2", [False, True])
async def test_a_host_that_the_certificate_does_not_cover_is_misdirected(
    authority: Authority, tmp_path: Path, http2: bool
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(200)
        exchange.stream.finish()

    pairs = [pair(authority, tmp_path, "a.test", "b.test"), pair(authority, tmp_path, "c.test")]
    async with memory_edge(visitors=over_tls(*pairs)) as edge:
        await connected(edge, script)
        assert edge.visitor_tls_address is not None
        for host, status in (("b.test", 200), ("c.test", 421), ("a.test.evil.test", 421)):
            visitor = Visitor(edge.visitor_tls_address, authority, http2=http2)
            assert (await visitor.get("a.test", host)).status_code == status, host


async def test_a_changed_certificate_is_shown_and_a_broken_one_is_not(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = pair(authority, tmp_path, "a.test")

    certificates = VisitorCertificates([first])

    def shown() -> frozenset[str]:
        return certificates._loaded[0].names

    first.certificate.write_bytes(b"half a file")
    await certificates.look()
    await certificates.look()
    assert shown() == {"a.test"}
    assert caplog.text.count("The certificate for visitors stays as it was") == 1
    chain, key = authority.issue(["a.test", "new.test"])
    for file, data in ((first.certificate, chain), (first.key, key)):
        other = tmp_path / "new"
        other.write_bytes(data)
        other.chmod(0o600)
        os.replace(other, file)
    await certificates.look()
    assert shown() == {"a.test", "new.test"}


async def test_the_files_are_looked_at_while_it_runs(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyconnector.edge.visitors.tls.certificates.LOOK_EVERY", 0.01)

    held = pair(authority, tmp_path, "a.test")
    async with memory_edge(visitors=over_tls(held)) as edge:
        chain, key = authority.issue(["b.test"])
        held.key.write_bytes(key)
        held.certificate.write_bytes(chain)
        assert edge.visitor_tls_address is not None

        async def name_shown() -> bool:
            try:
                _, writer = await asyncio.open_connection(
                    *(edge.visitor_tls_address or ()), ssl=trusting(authority), server_hostname="b.test"
                )
            except ssl.SSLError:
                return False
            writer.close()
            return True

        async with asyncio.timeout(20):
            while not await name_shown():
                await asyncio.sleep(0.02)


async def test_what_cannot_be_shown_stops_the_start(authority: Authority, tmp_path: Path) -> None:
    good, other = pair(authority, tmp_path, "a.test"), pair(authority, tmp_path, "b.test")
    with pytest.raises(SettingsError, match="are no certificate and its key"):
        load(good.certificate, other.key)
    with pytest.raises(SettingsError, match=r"missing.pem cannot be read"):
        load(tmp_path / "missing.pem", good.key)
    good.key.chmod(0o644)
    with pytest.raises(SettingsError, match="can be read by everybody"):
        load(good.certificate, good.key)

    with pytest.raises(SettingsError, match="can be read by everybody"):
        async with memory_edge(visitors=over_tls(good)):
            pass


def test_an_encrypted_key_is_not_asked_for(authority: Authority, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    held = pair(authority, tmp_path, "a.test")
    key = serialization.load_pem_private_key(held.key.read_bytes(), None)
    encryption = serialization.BestAvailableEncryption(b"secret")
    held.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))
    with pytest.raises(SettingsError, match="an encrypted key"):
        load(held.certificate, held.key)


def test_flags_come_in_pairs() -> None:
    assert len(certificate_pairs("h:1", ["a", "b"], ["c", "d"])) == 2
    for given in (("h:1", ["a"], []), ("", ["a"], ["b"]), ("h:1", [], [])):
        with pytest.raises(SettingsError):
            certificate_pairs(*given)


@pytest.mark.parametrize(
    ("server_name", "host", "misdirected"),
    [
        ("a.test", b"a.test:8443", False),
        ("a.test", b"A.test.", False),
        ("a.test", b"x.wild.test", False),
        ("a.test", b"wild.test", True),
        ("a.test", b"x.y.wild.test", True),
        ("a.test", b"b.test", True),
        ("", b"b.test", False),
    ],
)
def test_a_connection_speaks_for_its_name_and_its_certificate(server_name: str, host: bytes, misdirected: bool) -> None:
    arrival = Arrival("https", server_name, frozenset({"other.test", "*.wild.test"}))
    assert arrival.is_misdirected(host) is misdirected
