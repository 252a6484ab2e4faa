"""Two tunnels in one process, each with credentials, rules and connections of its own, over one edge."""

from __future__ import annotations

import asyncio
import secrets
import urllib.request
import uuid
from contextlib import AsyncExitStack

from pyconnector import Connector, ConnectorConfig, Credentials, EdgeSettings, LocalEdge, TunnelSettings, parse_ingress

SITES = {"one.example": "http_status:201", "two.example": "http_status:202"}


def status(url: str, host: str) -> int:
    """The status that a visitor of `host` gets."""
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Host": host}), timeout=10) as response:
        return int(response.status)


def tunnel_for(hostname: str, service: str) -> tuple[TunnelSettings, ConnectorConfig]:
    """What the edge and the connector must know of a tunnel for `hostname`."""
    credentials = Credentials(account_tag=hostname, tunnel_id=uuid.uuid4(), secret=secrets.token_bytes(32))
    tunnel = TunnelSettings(
        account_tag=credentials.account_tag,
        tunnel_id=credentials.tunnel_id,
        secret=credentials.secret,
        hostnames=(hostname,),
    )
    rules = [{"hostname": hostname, "service": service}, {"service": "http_status:404"}]
    return tunnel, ConnectorConfig(credentials=credentials, ingress=parse_ingress({"ingress": rules}))


async def main() -> None:
    pairs = [tunnel_for(hostname, service) for hostname, service in SITES.items()]
    async with LocalEdge(EdgeSettings(tunnels=tuple(tunnel for tunnel, _ in pairs))) as edge:
        address, ca_file = "{}:{}".format(*edge.quic_address), str(edge.ca_path)
        async with AsyncExitStack() as stack:
            connectors = [
                await stack.enter_async_context(Connector(config.with_edge(address, ca_file=ca_file)))
                for _, config in pairs
            ]
            await asyncio.gather(*(connector.wait_ready() for connector in connectors))
            url = "http://{}:{}/".format(*edge.visitor_address)
            for hostname in SITES:
                print(hostname, await asyncio.to_thread(status, url, hostname))
            await asyncio.gather(*(connector.drain(grace_period=5) for connector in connectors))


if __name__ == "__main__":
    asyncio.run(main())
