"""No certificate passes by its Common Name (RFC 9525 6.3), whatever part of the product is the client."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

import pyconnector
from pyconnector.transport.tls.client_context import client_context
from tests.support.identity.certificates import Authority

ROOT = Path(pyconnector.__file__).parent
ROOMS = ("agent", "connector", "control", "edge", "identity", "logpush", "origins", "transport", "web")
MADE = ("ssl.create_default_context(", "ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)")
#: Only looks whether a file holds authorities.
NO_CLIENT = {"transport/tls/edge_roots.py"}


def test_every_context_of_a_client_ignores_common_names() -> None:
    makers = [
        path.relative_to(ROOT)
        for room in ROOMS
        for path in sorted((ROOT / room).rglob("*.py"))
        if any(text in path.read_text() for text in MADE)
    ]
    assert len(makers) >= 4
    careless = [
        str(path)
        for path in makers
        if str(path) not in NO_CLIENT and ".hostname_checks_common_name = False" not in (ROOT / path).read_text()
    ]
    assert not careless, "take client_context() of transport/tls"


async def test_a_common_name_names_no_service(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = client_context(authority.path)
    assert context.verify_mode is ssl.CERT_REQUIRED

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    for names, passes in (((), False), (("nas.home",), True)):
        tls = authority.server(*names, common_name="nas.home")
        async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls) as server:
            port = server.sockets[0].getsockname()[1]
            opened = asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="nas.home")
            if passes:
                _, writer = await opened
                writer.close()
            else:
                with pytest.raises(ssl.SSLCertVerificationError):
                    await opened
