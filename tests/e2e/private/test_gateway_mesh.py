"""The gateway of an edge that follows a control plane: its tokens and its rules, as they are now."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

from pyconnector import Connector, Credentials
from pyconnector.edge import EdgeSettings, LocalEdge
from pyconnector.edge.settings import DirectorySettings
from pyconnector.protocol.tokens import decode_token
from tests.control.support import Mesh, open_mesh
from tests.support.houses.gateway_house import echo_service
from tests.support.houses.house import config_for
from tests.support.peers.gateway import LOOPBACK_NETWORKS, Client, gateway_settings


async def reached(edge: LocalEdge, port: int, token: dict[str, Any]) -> tuple[Client, int]:
    assert edge.gateway is not None
    client = await Client.at(edge.gateway.http_address)
    return client, await client.http_connect("127.0.0.1", port, user=token["client_id"], secret=token["client_secret"])


async def until_reached(edge: LocalEdge, port: int, token: dict[str, Any]) -> Client:
    """What the control plane says takes a moment to arrive."""
    while True:
        client, status = await reached(edge, port, token)
        if status == 200:
            assert await client.ask(b"x") == b"x"
            return client
        client.close()
        await asyncio.sleep(0.05)


async def test_tokens_and_rules_of_the_control_plane_decide(tmp_path: Path) -> None:
    async with open_mesh(tmp_path / "data") as mesh, echo_service() as port:
        tunnel = await mesh.tunnel()
        route = {"network": "127.0.0.0/8", "tunnel_id": tunnel["id"]}
        await mesh.call("POST", f"{mesh.account}/teamnet/routes", json=route)
        token = await mesh.call("POST", f"{mesh.account}/access/service_tokens", json={"name": "a", "role": "r"})
        directory = DirectorySettings(url=mesh.plane.url, token=mesh.plane.edge_token_file.read_text().strip())
        gateway = gateway_settings(tokens=(), rules=())
        async with LocalEdge(EdgeSettings(control=None, directory=directory, gateway=gateway)) as edge:
            config = config_for(edge, [{"service": "http_status:404"}])
            shown = decode_token(tunnel["token"])
            credentials = Credentials(account_tag=shown.account_tag, tunnel_id=shown.tunnel_id, secret=shown.secret)
            async with Connector(replace(config, credentials=credentials)) as connector:
                await connector.wait_ready(1)
                client, status = await reached(edge, port, token)
                assert status == 403  # without a rule nobody reaches anything
                client.close()
                await both_end_what_runs(mesh, edge, port, token)


async def both_end_what_runs(mesh: Mesh, edge: LocalEdge, port: int, token: dict[str, Any]) -> None:
    rules, tokens = f"{mesh.account}/network_rules", f"{mesh.account}/access/service_tokens/{token['id']}"
    rule = await mesh.call("POST", rules, json={"action": "allow", "roles": ["r"], "networks": LOOPBACK_NETWORKS})
    client = await until_reached(edge, port, token)
    await mesh.call("DELETE", f"{rules}/{rule['id']}")
    assert await client.rest() == b""
    client.close()
    await mesh.call("POST", rules, json={"action": "allow", "networks": LOOPBACK_NETWORKS})
    client = await until_reached(edge, port, token)
    await mesh.call("PUT", tokens, json={"enabled": False})
    assert await client.rest() == b""
    client.close()
    client, status = await reached(edge, port, token)
    assert status == 407
    client.close()
