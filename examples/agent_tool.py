"""An agent's tool calls reach private services by name, under the agent's own token: one line each.

    python examples/agent_tool.py https://edge.example:8443 token.json http://db.internal:8080/orders

The token's file comes from `pyconnector edge new-token`; docs/private-network.md has the edge's side.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import urllib.request
from urllib.parse import urlsplit

from pyconnector import agent

#: PEM of the authority of an edge that has certificates of its own.
CA_FILE = os.environ.get("GATEWAY_CA_FILE")


async def is_open(mesh: agent.Mesh, host: str, port: int) -> str:
    """A tool for any protocol: a connection is `await mesh.open_connection(host, port)`."""
    try:
        _, writer = await mesh.open_connection(host, port)
    except agent.MeshError as error:
        return str(error)
    writer.close()
    return f"{host}:{port} is open"


def fetch(gateway: str, token_file: str, url: str) -> str:
    """A tool that blocks, with any HTTP library; `requests.get(url, proxies={"http": proxy, "https": proxy})` too."""
    with agent.local_proxy(gateway, token_file=token_file, ca_file=CA_FILE) as proxy:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": proxy, "https": proxy}))
        with contextlib.closing(opener.open(url, timeout=30)) as response:
            return str(response.read(2_000).decode("utf-8", "replace"))


async def main(gateway: str, token_file: str, url: str) -> None:
    """Use both tools, several calls at once."""
    parts = urlsplit(url)
    async with agent.connect(gateway, token_file=token_file, ca_file=CA_FILE) as mesh:
        ports = (parts.port or 80, 1)
        for answer in await asyncio.gather(*(is_open(mesh, parts.hostname or "", port) for port in ports)):
            print(answer)
    print(await asyncio.to_thread(fetch, gateway, token_file, url))


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    asyncio.run(main(*sys.argv[1:]))
