"""The main job in one process: a local service, a local edge, a connector between them, and a first request.

`make demo` runs it and it stays up until Ctrl-C; with DEMO_ONCE=1 it ends after its own first request, with exit code
0 if that came back right. The rules are those of examples/demo/config.yaml, with the port that the
service has here.
"""

from __future__ import annotations

import asyncio
import http.server
import os
import secrets
import sys
import threading
import urllib.request
import uuid
from pathlib import Path

import yaml

from pyconnector import (
    Connector,
    ConnectorConfig,
    Credentials,
    EdgeSettings,
    LocalEdge,
    TunnelSettings,
    VisitorSettings,
    parse_ingress,
)

GREETING = b"Hello from a service on the private machine.\n"


class Service(http.server.BaseHTTPRequestHandler):
    """The local HTTP service: it knows nothing of tunnels."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = GREETING + b"You asked for %s and came by way of %s.\n" % (
            self.path.encode(),
            self.headers.get("Cf-Ray", "nowhere").encode(),
        )
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """The demo has its own words."""


def visit(url: str, host: str) -> bytes:
    """One visitor's request."""
    request = urllib.request.Request(url, headers={"Host": host})
    with urllib.request.urlopen(request, timeout=10) as response:
        return bytes(response.read())


async def main() -> int:
    """Run everything; return the exit code."""
    service = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=service.serve_forever, daemon=True).start()
    credentials = Credentials(account_tag="demo", tunnel_id=uuid.uuid4(), secret=secrets.token_bytes(32))
    tunnel = TunnelSettings(
        account_tag=credentials.account_tag, tunnel_id=credentials.tunnel_id, secret=credentials.secret
    )
    config_file = Path(__file__).parent / "demo" / "config.yaml"
    rules = yaml.safe_load(config_file.read_text(encoding="utf-8"))["ingress"]
    rules[0]["service"] = f"http://127.0.0.1:{service.server_port}"
    ingress = parse_ingress({"ingress": rules})
    visitors = VisitorSettings(address=("127.0.0.1", int(os.environ.get("DEMO_PORT", "0"))))
    async with LocalEdge(EdgeSettings(tunnels=(tunnel,), visitors=visitors)) as edge:
        host, port = edge.quic_address
        config = ConnectorConfig(credentials=credentials, ingress=ingress).with_edge(
            f"{host}:{port}", ca_file=str(edge.ca_path)
        )
        async with Connector(config) as connector:
            await connector.wait_ready()
            url = "http://{}:{}".format(*edge.visitor_address)
            answer = await asyncio.to_thread(visit, f"{url}/first", "app.localhost")
            print(f"visitor -> edge -> QUIC -> connector -> service, and back:\n\n  {answer.decode().strip()}\n")
            if not answer.startswith(GREETING):
                print("That is not what the service said.", file=sys.stderr)
                return 1
            if os.environ.get("DEMO_ONCE"):
                await connector.drain(grace_period=2)
                return 0
            print("Try it:")
            print(f"  curl -H 'Host: app.localhost' {url}/any/path")
            print(
                f"  http://app.localhost:{edge.visitor_address[1]}/    (in a browser: it knows names below localhost)"
            )
            print(f"  curl -i -H 'Host: else.localhost' {url}/    (no rule: 404)")
            if edge.control_address is not None:
                print("  curl http://{}:{}/tunnels    (the edge's control API)".format(*edge.control_address))
            print("\nCtrl-C ends it.", flush=True)
            await asyncio.Event().wait()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except KeyboardInterrupt:
        sys.exit(0)
