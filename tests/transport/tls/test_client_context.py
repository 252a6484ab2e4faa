"""No certificate passes by its Common Name (RFC 9525 6.3), whatever part of the product is the client."""

from __future__ import annotations

import ast
import asyncio
import ssl
from pathlib import Path

import pytest

import pyconnector
from pyconnector.edge.access.login.provider_client import ProviderClient
from pyconnector.edge.directory.client import ControlClient
from pyconnector.logpush.destinations import HttpDestination
from pyconnector.logpush.senders.http import HttpSender
from pyconnector.transport.tls.client_context import client_context
from tests.support.identity.certificates import Authority

ROOT = Path(pyconnector.__file__).parent
ROOMS = ("agent", "connector", "control", "edge", "identity", "logpush", "origins", "transport", "web")
MADE = ("ssl.create_default_context(", "ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)")
HTTPX_CLIENTS = ("httpx.AsyncClient", "httpx.Client")
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


def _made_without_context(source: str) -> list[int]:
    """The lines on which an httpx client is made that verifies as it likes."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in HTTPX_CLIENTS
        and not any(each.arg in ("verify", "transport") for each in node.keywords)
    ]


def test_every_client_of_httpx_is_given_a_context() -> None:
    sources = {path.relative_to(ROOT): path.read_text() for room in ROOMS for path in (ROOT / room).rglob("*.py")}
    assert sum(any(f"{name}(" in source for name in HTTPX_CLIENTS) for source in sources.values()) >= 3
    careless = {str(path): lines for path, source in sources.items() if "httpx" in source
                if (lines := _made_without_context(source))}  # fmt: skip
    assert not careless, "give it verify=verifying() of logpush/senders/slices.py"


async def test_every_client_of_httpx_ignores_common_names() -> None:
    control = ControlClient("https://nas.home", "token")
    provider = ProviderClient(lambda: 0.0, lambda: 0.0)
    sender = HttpSender(HttpDestination(url="https://nas.home/", shown="a receiver"))
    try:
        for client in (control._client, provider._client, sender._client):
            context: ssl.SSLContext = client._transport._pool._ssl_context  # type: ignore[attr-defined]
            assert (context.hostname_checks_common_name, context.check_hostname) == (False, True)
            assert context.verify_mode is ssl.CERT_REQUIRED
    finally:
        for each in (control, provider, sender):
            await each.close()


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
