"""An edge with TLS for visitors, and a TCP service behind it that echoes: what `access tcp` clients meet."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from pyconnector.edge import CertificatePair, EdgeSettings, LocalEdge, VisitorSettings
from pyconnector.transport.tls.certificates import make_authority
from tests.support.houses.house import open_house, tunnel
from tests.support.identity.agents import HOST, World

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(slots=True)
class TlsHouse:
    edge: LocalEdge
    ca: Path
    "PEM of the authority that visitors must trust."

    @property
    def port(self) -> int:
        assert self.edge.visitor_tls_address is not None
        return self.edge.visitor_tls_address[1]

    @property
    def connect_to(self) -> str:
        """What makes a client dial this edge for the name."""
        return f"127.0.0.1:{self.port}"

    def world(self) -> World:
        """The edge's knowledge of Access, which guards from now on."""
        return World(self.edge.gate.state)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def tls_house(
    folder: Path,
    handler: Handler = echo,
    *,
    port: int = 0,
    more: tuple[tuple[str, int], ...] = (),
    service: str = "",
) -> AsyncIterator[TlsHouse]:
    """`handler` serves the name `HOST`, or the service at `port` or of that URL; `more` are names with ports."""
    authority = make_authority("visitors")
    chain, key = authority.issue([HOST, *(name for name, _ in more)])
    pair = CertificatePair(certificate=folder / "chain.pem", key=folder / "key.pem")
    pair.certificate.write_bytes(chain)
    pair.key.write_bytes(key)
    pair.key.chmod(0o600)
    ca = folder / "ca.pem"
    ca.write_bytes(authority.certificate_pem)
    settings = EdgeSettings(
        tunnels=(tunnel(),), visitors=VisitorSettings(tls_address=("127.0.0.1", 0), certificates=(pair,))
    )
    async with await asyncio.start_server(handler, "127.0.0.1", 0) as server:
        services = [(HOST, port or server.sockets[0].getsockname()[1]), *more]
        rules = [
            *([{"hostname": HOST, "service": service}] if service else []),
            *({"hostname": name, "service": f"tcp://127.0.0.1:{where}"} for name, where in services),
            {"service": "http_status:404"},
        ]
        async with open_house(rules, settings=settings) as house:
            yield TlsHouse(house.edge, ca)
