"""`python -m bench.hop`: what it costs an edge to pass a request to another that holds the connector.

One process is both edges. Its CPU time for a request through the mesh, less that of one over its own connection,
is what a hop costs the two together. It is what workers of one edge would pay for each request whose connector another
worker holds (docs/performance.md).
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import statistics
from typing import TYPE_CHECKING, cast
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bench.house.stage import set_up
from bench.house.subject import TUNNEL_ID, Subject
from bench.loads.load import BROWSER, HOST
from pyconnector.edge.connectors.exchange import TunnelRequest, open_exchange
from pyconnector.edge.directory.values import PeerEntry
from pyconnector.edge.mesh.identity import MeshIdentity
from pyconnector.edge.mesh.peers import Peers
from pyconnector.edge.mesh.server import PeerServer
from pyconnector.edge.turns import Turns
from pyconnector.protocol.http.headers import RequestHead
from pyconnector.protocol.streams.connect import ConnectionType

if TYPE_CHECKING:
    from bench.loads.load import Unit
    from pyconnector.edge.connectors.tunnels import Member, Tunnel, Tunnels

SIZE = 1024


def visitors_request(through: Member | None) -> Unit:
    """A GET as the edge's own visitors send it: over a connection held here, or `through` another edge."""
    headers = [(key.removeprefix(b"HttpHeader:"), value) for key, value in BROWSER]
    target = f"/bytes/{SIZE}"

    async def unit(tunnel: Tunnel) -> int:
        head = RequestHead(method="GET", target=target, host=HOST, headers=list(headers))
        request = TunnelRequest(kind=ConnectionType.HTTP, head=head)
        if through is None:
            carried = await open_exchange(tunnel, request, finish=True)
        else:
            carried = await through.open(request, body=b"", finish=True)
        try:
            response = await carried.response()
            size = len(carried.leftover)
            while piece := await carried.body.receive(65_536):
                size += len(piece)
            if response.status != 200 or size != SIZE:
                raise RuntimeError(f"status {response.status}, {size} bytes")
        finally:
            carried.close()
        return size

    return unit


class Mesh:
    """Another edge in this process, with the same tunnels, that is reached as every other edge is."""

    def __init__(self, tunnels: Tunnels) -> None:
        identity = _identity()
        later = Turns().add
        self._server = PeerServer(tunnels, identity.server_context(), later)
        self._peers = Peers(identity.client_context(), later)

    async def member(self) -> Member:
        """Listen, and return what asks there. Cancel leaves nothing open."""
        host, port = await self._server.start(("127.0.0.1", 0))
        tunnel_id = UUID(TUNNEL_ID)
        self._peers.learn([PeerEntry(id="other", address=f"{host}:{port}", tunnels=(tunnel_id,))])
        return cast("Member", self._peers.holding(tunnel_id)[0])


def _identity() -> MeshIdentity:
    from pyconnector.control.store.objects.authority import issue, make_authority  # of the extra `mesh`

    now, key = datetime.datetime.now(datetime.UTC), ec.generate_private_key(ec.SECP256R1())
    authority = make_authority(now)
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    chain = issue(authority, request.public_bytes(serialization.Encoding.PEM).decode("ascii"), now)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return MeshIdentity(chain=chain.encode("ascii"), authority=authority.certificate.encode("ascii"), key=pem)


async def measure(engine: str, in_flight: int, rounds: int, seconds: float) -> tuple[float, float]:
    """Microseconds of the edge's CPU time for a request, without a hop and with one. Cancel at any time."""
    found: dict[bool, list[float]] = {False: [], True: []}
    async with set_up(Subject(engine, engine=engine), connections=1, edge_engine=engine) as stage:
        for _ in range(rounds):
            for hop, values in found.items():
                figures = await stage.measured(do="exchange", hop=hop, in_flight=in_flight, seconds=seconds)
                values.append(figures["spent"]["edge"] / max(1, figures["count"]) * 1e6)
    return statistics.median(found[False]), statistics.median(found[True])


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.hop", description=__doc__)
    parser.add_argument("--engine", default="qh3", choices=("aioquic", "qh3"), help="of connector and edge")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each slice of load")
    arguments = parser.parse_args()
    print("| in flight | own connection, us | through another edge, us | the hop, us |", "|---|---|---|---|", sep="\n")
    for in_flight in (1, 16, 64):
        here, there = asyncio.run(measure(arguments.engine, in_flight, arguments.rounds, arguments.seconds))
        print(f"| {in_flight} | {here:.0f} | {there:.0f} | {there - here:.0f} |", flush=True)


if __name__ == "__main__":
    main()
