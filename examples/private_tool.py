"""A tool on this machine that nobody reaches without a verified identity, and that knows who is asking.

The connector verifies each request's Access token before the tool hears of it, then a layer of this program decides who
may use which tool, and the tool reads the one header that only the connector can have written. A local edge and a team
made up here stand in for the provider's, so this runs as it is; docs/access.md says what to change for a real one.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import sys
import time
import urllib.error
import urllib.request
import uuid

from joserfc import jwk, jws

from pyconnector import (
    AccessLog,
    Connector,
    ConnectorConfig,
    Credentials,
    EdgeSettings,
    Gate,
    LocalEdge,
    OriginRequest,
    Rejection,
    TunnelSettings,
    parse_ingress,
)

TEAM, AUDIENCE = "example", "4714c1358e65fe4b408ad6d432a5f878f08194bdb4752441fd56faefa9b2b6f2"
MAY_USE_THE_TOOL = {"dev@example.com"}


class OnlyFriends(Gate):
    """A second gate, behind the check of the token: `request.identity` is verified by then."""

    async def admit(self, request: OriginRequest) -> None:
        """Let in who is on the list."""
        if request.identity is None or request.identity.name not in MAY_USE_THE_TOOL:
            raise Rejection(status=403, reason="not on the list of this tool", body=b"ask for access first\n")


async def tool(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The private tool: it answers whom the connector says is there, and needs no login of its own."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = dict(line.split(": ", 1) for line in head[1:-2])
    answer = f"hello {fields.get('Cf-Access-Authenticated-User-Email', 'whoever you are')}\n".encode()
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer))
    writer.close()
    await writer.wait_closed()


class Team:
    """What the identity provider does: publishes a key, and signs tokens with it."""

    def __init__(self) -> None:
        self.key = jwk.ECKey.generate_key("P-256", {"kid": "1", "use": "sig"})

    async def keys(self, url: str) -> bytes:
        """The document at https://<team>.cloudflareaccess.com/cdn-cgi/access/certs."""
        return json.dumps({"keys": [self.key.as_dict(private=False)]}).encode()

    def token(self, email: str) -> str:
        """A token for one person."""
        claims = {
            "iss": f"https://{TEAM}.cloudflareaccess.com", "aud": [AUDIENCE], "type": "app",
            "exp": time.time() + 60, "sub": email, "email": email,  # noqa: TID251 - a date, not a duration
        }  # fmt: skip
        return jws.serialize_compact({"alg": "ES256", "kid": "1"}, json.dumps(claims), self.key, algorithms=["ES256"])


def visit(url: str, headers: dict[str, str]) -> str:
    """One visitor's request: the status and the body of its answer."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as response:
            return f"{response.status} {response.read().decode().strip()}"
    except urllib.error.HTTPError as error:
        with error:
            return f"{error.code} {error.read().decode().strip()}".strip()


async def main() -> None:
    """Start edge, tool and connector, and let four visitors try."""
    team = Team()
    server = await asyncio.start_server(tool, "127.0.0.1", 0)  # on loopback: the tunnel is the only way in
    access = {"required": True, "teamName": TEAM, "audTag": [AUDIENCE]}
    service = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    rules = {"originRequest": {"access": access}, "ingress": [{"service": service}]}
    credentials = Credentials(account_tag="example", tunnel_id=uuid.uuid4(), secret=secrets.token_bytes(32))
    tunnel = TunnelSettings(account_tag="example", tunnel_id=credentials.tunnel_id, secret=credentials.secret)
    async with server, LocalEdge(EdgeSettings(tunnels=(tunnel,))) as edge:
        config = ConnectorConfig(credentials=credentials, ingress=parse_ingress(rules))
        config = config.with_edge("{}:{}".format(*edge.quic_address), ca_file=str(edge.ca_path))
        async with Connector(
            config,
            layers=[OnlyFriends],
            observers=[AccessLog(logging.StreamHandler(sys.stderr))],
            fetch_access_keys=team.keys,  # leave this out and the team's real keys are fetched over HTTPS
        ) as connector:
            await connector.wait_ready()
            url = "http://{}:{}/tool?q=secret".format(*edge.visitor_address)
            claim = {"Cf-Access-Authenticated-User-Email": "dev@example.com"}
            for who, headers in {
                "nobody": {},
                "somebody who only claims to be dev": claim,
                "a colleague": {"Cf-Access-Jwt-Assertion": team.token("other@example.com")},
                "dev": {"Cf-Access-Jwt-Assertion": team.token("dev@example.com")},
            }.items():
                print(f"{who}:", await asyncio.to_thread(visit, url, headers))
            await connector.drain(grace_period=5)


if __name__ == "__main__":
    asyncio.run(main())
