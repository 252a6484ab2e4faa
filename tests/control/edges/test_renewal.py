"""Certificates of the mesh are renewed while an edge runs, and shown in the next handshake."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from pathlib import Path

import pytest
from cryptography import x509

from pyconnector.control.store.objects import authority
from pyconnector.edge.mesh import renewal
from pyconnector.edge.mesh.identity import MeshIdentity
from pyconnector.edge.mesh.renewal import keep_valid, seconds_to_renewal
from pyconnector.edge.settings import SettingsError
from tests.control.edges.test_edges import connected, route, until, visit
from tests.control.edges.test_many_edges import HOST, joined, knows
from tests.control.support import open_mesh


def identity(lifetime: datetime.timedelta, begun: datetime.datetime) -> MeshIdentity:
    made = authority.make_authority(begun)
    builder = authority._builder
    key = x509.load_pem_x509_certificate(made.certificate.encode()).public_key()
    subject = x509.load_pem_x509_certificate(made.certificate.encode()).subject
    from cryptography.hazmat.primitives import hashes, serialization

    signer = serialization.load_pem_private_key(made.key.encode(), None)
    own = builder(subject, subject, key, begun, lifetime).sign(signer, hashes.SHA256())  # type: ignore[arg-type]
    return MeshIdentity(own.public_bytes(serialization.Encoding.PEM), made.certificate.encode(), made.key.encode())


def test_it_is_due_when_a_third_is_left() -> None:
    begun = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    made = identity(datetime.timedelta(days=29), begun)  # and the day before
    assert seconds_to_renewal(made, begun) == 19 * 86_400
    assert seconds_to_renewal(made, begun + datetime.timedelta(days=19)) == 0
    assert seconds_to_renewal(made, begun + datetime.timedelta(days=300)) == 0


async def test_the_old_one_stays_while_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "RETRY", 0.0)
    now = datetime.datetime.now(datetime.UTC)
    old, new = identity(datetime.timedelta(hours=1), now), identity(datetime.timedelta(days=90), now)
    answers: list[MeshIdentity | None] = [None, old, None, new]
    shown: list[MeshIdentity] = []

    async def obtain() -> MeshIdentity:
        found = answers.pop(0)
        if found is None:
            raise SettingsError("the control plane is away")
        return found

    task = asyncio.create_task(keep_valid(old, obtain, shown.append))
    while not shown:
        await asyncio.sleep(0)
    assert (shown, answers) == ([new], [])
    task.cancel()
    await asyncio.wait([task])


async def test_every_listener_shows_the_new_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authority, "LIFETIME", datetime.timedelta(hours=2))  # of 26, so that it is due at once
    monkeypatch.setattr(renewal, "RETRY", 0.3)

    async def serial(address: tuple[str, int] | None, ca: bytes) -> int:
        """Of the certificate at an address, which may turn us away afterwards."""
        assert address is not None
        context = ssl.create_default_context(cadata=ca.decode())
        _, writer = await asyncio.open_connection(*address, ssl=context, server_hostname="h2.cftunnel.com")
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.transport.abort()
        return x509.load_der_x509_certificate(der).serial_number

    async with open_mesh(tmp_path / "data") as mesh, joined(mesh) as one, joined(mesh) as two:
        made = await mesh.tunnel("t")
        await route(mesh, made["id"], "app")
        places = (one.quic_address, one.peer_address)
        before = {await serial(place, one.ca_pem) for place in places}
        assert len(before) == 1
        chains = {edge._identity.chain for edge in (one, two) if edge._identity is not None}
        await until(
            lambda: not chains & {edge._identity.chain for edge in (one, two) if edge._identity is not None},
            "new certificates of both",
        )
        for place in places:
            assert await serial(place, one.ca_pem) not in before
        # Connectors over QUIC and the other edge are shown a certificate that fits its key.
        async with connected(one, made["token"], 201):
            await knows(two, made["id"])
            assert await visit(two, HOST) == 201
