"""An edge with WireGuard, a connector and a private service in one process and one network namespace.

A process of its own, since the library opens its sockets in threads of its own, which stay in the namespace that they
were begun in. It prints one line of JSON when all is ready, and one for each line that it reads:

    python -m tests.support.houses.wireguard_house DEVICE-PUBLIC-KEY asyncio|uvloop
    records     prints the records so far
    drop        deletes the device
    add         adds it again
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, ip_network

from pyconnector import Connector
from pyconnector.connector.config.model import PrivateConfig
from pyconnector.edge import EdgeSettings, LocalEdge, PrivateHostname, PrivateRoute
from pyconnector.edge.access.devices import DeviceEntry, WireGuardEntry
from pyconnector.identity.devices.wireguard import make_private_key, public_key_of
from tests.support.houses.house import TUNNEL_ID, config_for, tunnel
from tests.support.peers.gateway import CLIENT_ID, gateway_settings, rule
from tests.support.services.dns_server import dns_service
from tests.support.services.udp_service import UdpService

#: Where the edge is for the device, and where the private service is.
EDGE, PRIVATE = "10.99.1.1", "192.168.77.2"
DEVICE, DNS_ADDRESS, NAMES, PORT = "100.96.0.7", "100.96.0.1", "172.64.128.0/20", 51_820


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer GET, and echo whatever else comes."""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            if data.startswith(b"GET "):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
                break
            writer.write(data)
            await writer.drain()
    writer.close()


async def main(device_key: str) -> None:
    """Run until the end of the input."""
    server_key = make_private_key(bytes(range(32)))
    device = DeviceEntry(
        id="d1", name="phone", token_id=CLIENT_ID, address=IPv4Address(DEVICE),
        wireguard=WireGuardEntry(
            public_key=device_key, server_key=server_key, port=PORT, dns_address=IPv4Address(DNS_ADDRESS),
            name_range=IPv4Network(NAMES),
        ),
    )  # fmt: skip
    rules = (
        rule(id="1", action="block", networks=None, ports=[22]),
        rule(id="2", networks=["192.168.77.0/24"], sources=[f"{DEVICE}/32"]),
    )
    gateway = gateway_settings(http=None, socks=None, wireguard=EDGE, rules=rules)
    settings = EdgeSettings(
        tunnels=(tunnel(),), gateway=gateway,
        private_routes=(PrivateRoute(network=ip_network("192.168.0.0/16"), tunnel_id=TUNNEL_ID),),
        private_hostnames=(PrivateHostname(hostname="*.internal", tunnel_id=TUNNEL_ID),),
    )  # fmt: skip
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(await asyncio.start_server(serve, PRIVATE, 0))
        udp = await stack.enter_async_context(UdpService(host=PRIVATE))
        resolver = await stack.enter_async_context(dns_service({"db.internal": PRIVATE}))
        edge = await stack.enter_async_context(LocalEdge(settings))
        config = config_for(edge, [{"service": "http_status:404"}], connections=1)
        config = replace(config, private=PrivateConfig(dns_resolvers=(("127.0.0.1", resolver.port),)))
        connector = await stack.enter_async_context(Connector(config))
        await connector.wait_ready(1)
        state, found = edge.gate.state, edge.gateway
        assert found is not None
        assert found.wireguard is not None
        state.put("device", device)
        tell({"server_key": public_key_of(server_key), "tcp": server.sockets[0].getsockname()[1], "udp": udp.port})
        loop = asyncio.get_running_loop()
        while line := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
            if line == "drop":
                state.drop("device", "d1")
            elif line == "add":
                state.put("device", device)
            tell({"records": list(found.records.recent), "ports": len(found.wireguard)})


def tell(value: object) -> None:
    """Print one line."""
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    if sys.argv[2] == "uvloop":
        import uvloop

        uvloop.run(main(sys.argv[1]))
    else:
        asyncio.run(main(sys.argv[1]))
