"""Tokens, rules and clients for tests of the gateway."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Mapping
from typing import Any

from pyconnector.edge.private.gateway.settings import GatewaySettings
from pyconnector.identity.network_rules import NetworkRule, parse_rule
from pyconnector.identity.service_tokens import SecretDigest, ServiceToken, digest
from pyconnector.protocol.proxying.socks5 import decode_udp, encode_address

CLIENT_ID = "0123456789abcdef0123456789abcdef.access"
SECRET = "a secret of the tests"
LOOPBACK_NETWORKS = ["127.0.0.0/8", "::1/128"]


def token(**more: Any) -> ServiceToken:
    values: dict[str, Any] = {"id": CLIENT_ID, "client_id": CLIENT_ID, "name": "agent-01", "role": "agent"}
    return ServiceToken(**{**values, "secrets": (SecretDigest(sha256=digest(SECRET)),), **more})


def rule(**value: Any) -> NetworkRule:
    whole = {"action": "allow", "networks": LOOPBACK_NETWORKS, **value}
    return parse_rule(whole.pop("id", "1"), {key: each for key, each in whole.items() if each is not None})


def gateway_settings(**more: Any) -> GatewaySettings:
    values: dict[str, Any] = {
        "http": ("127.0.0.1", 0),
        "socks": ("127.0.0.1", 0),
        "tokens": (token(),),
        "rules": (rule(),),
    }
    return GatewaySettings(**{**values, **more})


def connect_head(host: str, port: int, headers: Mapping[str, str]) -> bytes:
    shown = f"[{host}]" if ":" in host else host
    lines = [f"CONNECT {shown}:{port} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


class Client:
    """One connection of a client, its handshake done by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def at(cls, address: tuple[str, int] | None, tls: ssl.SSLContext | None = None) -> Client:
        assert address is not None
        return cls(*await asyncio.open_connection(*address, ssl=tls))

    def close(self) -> None:
        self.writer.close()

    async def read(self, size: int) -> bytes:
        async with asyncio.timeout(30):
            return await self.reader.readexactly(size)

    async def rest(self) -> bytes:
        async with asyncio.timeout(30):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""

    async def ask(self, data: bytes) -> bytes:
        self.writer.write(data)
        return await self.read(len(data))

    async def http_connect(
        self, host: str, port: int, *, user: str = CLIENT_ID, secret: str = SECRET, headers: Mapping[str, str] = {}
    ) -> int:
        """Return the status."""
        basic = base64.b64encode(f"{user}:{secret}".encode()).decode()
        self.writer.write(connect_head(host, port, {"Proxy-Authorization": f"Basic {basic}", **headers}))
        return await self.status()

    async def status(self) -> int:
        """Read the head of an answer."""
        async with asyncio.timeout(20):
            head = await self.reader.readuntil(b"\r\n\r\n")
        return int(head.split()[1])

    async def socks(
        self, host: str, port: int, *, user: str = CLIENT_ID, secret: str = SECRET, command: int = 1
    ) -> tuple[int, tuple[str, int]]:
        """Return the reply's code and the address in it; code -1 where the credentials were refused."""
        self.writer.write(b"\x05\x01\x02")
        assert await self.read(2) == b"\x05\x02"
        self.writer.write(b"\x01" + bytes([len(user)]) + user.encode() + bytes([len(secret)]) + secret.encode())
        if await self.read(2) != b"\x01\x00":
            return -1, ("", 0)
        try:
            if "%" in host:
                raise ValueError  # an address with a zone can be said as a name alone
            where = encode_address(host, port)
        except ValueError:
            where = b"\x03" + bytes([len(host)]) + host.encode() + port.to_bytes(2, "big")
        self.writer.write(b"\x05" + bytes([command]) + b"\x00" + where)
        head = await self.read(4)
        rest = await self.read(6 if head[3] == 1 else 18)
        found = decode_udp(b"\x00\x00\x00" + head[3:] + rest)
        assert found is not None
        return head[1], found[:2]
