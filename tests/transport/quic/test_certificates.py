"""A listener shows another certificate to whoever comes from then on, with both engines."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyconnector.transport import quic
from pyconnector.transport.errors import ConnectFailed
from pyconnector.transport.settings import ClientTls, QuicSettings, ServerTls
from pyconnector.transport.tls.certificates import make_authority


@pytest.mark.parametrize("engine", ["aioquic", "qh3"])
async def test_a_listener_shows_another_certificate(tmp_path: Path, engine: str) -> None:
    settings = QuicSettings(engine=engine)
    shown, trusted = [], []
    for name in ("old", "new"):
        authority = make_authority(name)
        chain, key = authority.issue(["edge.test"])
        shown.append(ServerTls(certificate_chain=chain, private_key=key))
        file = tmp_path / f"{name}.pem"
        file.write_bytes(authority.certificate_pem)
        trusted.append(ClientTls(server_name="edge.test", ca_file=str(file)))
    listener = await quic.listen("127.0.0.1", 0, tls=shown[0], settings=settings, on_connection=lambda _: None)
    first = await quic.connect(listener.address, tls=trusted[0], settings=settings)
    listener.show(shown[1])
    mixed = ServerTls(certificate_chain=shown[0].certificate_chain, private_key=shown[1].private_key)
    with pytest.raises(ConnectFailed):
        listener.show(mixed)
    second = await quic.connect(listener.address, tls=trusted[1], settings=settings)
    with pytest.raises(ConnectFailed):
        await quic.connect(listener.address, tls=trusted[0], settings=settings)
    for connection in (first, second):
        connection.close(0, "")
    await listener.close()
