"""An edge's knowledge of Access for tests, put there without a control plane; and an origin that tells what it got."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import uuid
from collections.abc import AsyncIterator
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from pyconnector.edge.access.entries import parse_access
from pyconnector.edge.access.gate import Gate, Passed, Pending, Stopped, Visit
from pyconnector.edge.access.state import AccessState
from pyconnector.identity.access_token.signing import load_key
from pyconnector.identity.people.person import Person, application_claims, subject_of
from pyconnector.identity.service_tokens import ENTROPY_BYTES, digest, make_secret

NOW = 1_800_000_000.0
HOST = "tool.example.com"
ANY_TOKEN: dict[str, Any] = {"any_valid_service_token": {}}
ACCOUNT = "a" * 32
Headers = list[tuple[bytes, bytes]]


@cache
def key_pem(number: int) -> str:
    private = rsa.generate_private_key(65537, 2048)
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


class Agent:
    """A service token, with its secret."""

    def __init__(self, world: World, name: str, **fields: Any) -> None:
        self.world = world
        self.id = str(uuid.uuid5(uuid.NAMESPACE_DNS, name))
        self.client_id = uuid.uuid5(uuid.NAMESPACE_URL, name).hex + ".access"
        self.secret = make_secret(os.urandom(ENTROPY_BYTES))
        self.value: dict[str, Any] = {
            "client_id": self.client_id, "name": name,
            "secrets": [{"sha256": digest(self.secret).hex(), "expires": None}],
            "enabled": True, "expires": None, "valid_after": 0.0, "role": "", "labels": [], "owner": "",
        }  # fmt: skip
        self.change(**fields)

    @property
    def headers(self) -> Headers:
        return [
            (b"CF-Access-Client-Id", self.client_id.encode()), (b"CF-Access-Client-Secret", self.secret.encode()),
        ]  # fmt: skip

    @property
    def text_headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.headers}

    def change(self, **fields: Any) -> None:
        self.value |= fields
        self.world.put("service_token", self.id, self.value)

    def delete(self) -> None:
        self.world.state.drop("service_token", self.id)


class World:
    """Keys, an organization, and what a test adds."""

    def __init__(self, state: AccessState, *, issuer: str = "access.example.com") -> None:
        self.state = state
        self.put("access_organization", ACCOUNT, {"auth_domain": issuer, "deny_unmatched": False})
        self.key(0, "current")
        self.key(1, "next")

    def put(self, kind: str, object_id: str, value: dict[str, Any]) -> None:
        self.state.put(kind, parse_access(kind, object_id, value))

    def key(self, number: int, state: str, expires: float | None = None) -> str:
        pem = key_pem(number)
        key_id = load_key(pem).id
        value = {"private_pem": pem, "certificate_pem": "", "state": state, "expires": expires}
        self.put("access_key", key_id, value)
        return key_id

    def people(self, name: str = "people") -> str:
        """A policy that lets people of example.com pass, who log in by a PIN."""
        self.put("access_identity_provider", "pin", {"name": "PIN", "type": "onetimepin", "config": {}})
        return self.policy(name, "allow", include=[{"email_domain": {"domain": "example.com"}}])

    def agent(self, name: str = "agent-01", **fields: Any) -> Agent:
        return Agent(self, name, **fields)

    def policy(self, name: str, decision: str = "non_identity", **rules: Any) -> str:
        value = {"name": name, "decision": decision, "revision": 1, "include": [ANY_TOKEN], **rules}
        self.put("access_policy", name, value)
        return name

    def application(self, name: str = "tool", *places: str, policies: list[str] | None = None, **more: Any) -> str:
        if policies is None:
            policies = [self.policy(f"{name}-policy")]
        audience = uuid.uuid5(uuid.NAMESPACE_DNS, name).hex * 2
        value = {"name": name, "aud": audience, "patterns": list(places) or [HOST], "policies": policies, **more}
        self.put("access_application", name, value)
        return audience


def person_token(gate: Gate, audience: str, email: str = "ann@example.com", **claims: Any) -> bytes:
    """The application token of a person who logged in by the provider `pin` a moment ago."""
    issuer = gate.issuer
    assert issuer is not None
    now = gate.clock()
    person = Person(
        subject=subject_of(ACCOUNT, email), email=email, provider="pin", nonce=uuid.uuid4().hex, begun=now - 1
    )
    said = application_claims(person, issuer=issuer.issuer, audience=audience, now=now, seconds=1800, binding="ab" * 32)
    return issuer.sign(said | claims)


class Clock:
    """Time that stands until it is moved."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


class Judge(World):
    """A gate with its own clock, asked directly."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.gate = Gate(AccessState(), clock=self.clock, ticks=self.clock)
        super().__init__(self.gate.state)

    def visit(self, headers: Headers | None = None, *, target: str = "/", **more: Any) -> Visit:
        fields = {"method": "GET", "host": HOST, "address": "192.0.2.7", "ray": "ray"} | more
        return Visit(target=target, headers=headers or [], **fields)

    def judge(self, headers: Headers | None = None, **more: Any) -> Passed | Stopped:
        verdict = self.gate.judge(self.visit(headers, **more))
        assert not isinstance(verdict, Pending)
        return verdict

    def passed(self, headers: Headers | None = None, **more: Any) -> Passed:
        verdict = self.judge(headers, **more)
        assert isinstance(verdict, Passed), verdict
        return verdict

    def refused(self, headers: Headers | None = None, **more: Any) -> tuple[int, str]:
        verdict = self.judge(headers, **more)
        assert isinstance(verdict, Stopped), verdict
        assert not verdict.decision.allowed
        body = json.loads(verdict.answer.body)
        assert not any(name.lower() == b"location" for name, _ in verdict.answer.fields)
        return verdict.answer.status, body["reason"]

    def answered(self, headers: Headers | None = None, **more: Any) -> tuple[int, Any]:
        verdict = self.judge(headers, **more)
        assert isinstance(verdict, Stopped), verdict
        return verdict.answer.status, json.loads(verdict.answer.body)


def value_of(headers: Headers, name: bytes) -> bytes | None:
    found = [value for key, value in headers if key.lower() == name.lower()]
    assert len(found) <= 1
    return found[0] if found else None


@contextlib.asynccontextmanager
async def telling_origin() -> AsyncIterator[str]:
    """An origin that answers with its request's head as JSON, or, asked for a WebSocket, echoes bytes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                fields = [line.partition(": ")[::2] for line in lines[1:-2]]
                named = {name.lower(): value for name, value in fields}
                if named.get("upgrade") == "websocket":
                    await _echo(named, reader, writer)
                    return
                if length := int(named.get("content-length", "0")):
                    await reader.readexactly(length)
                body = json.dumps({"line": lines[0], "headers": [list(entry) for entry in fields]}).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with server:
        yield f"http://{host}:{port}"


async def _echo(named: dict[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    import base64
    import hashlib

    accept = hashlib.sha1(named["sec-websocket-key"].encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n\r\n" % base64.b64encode(accept)
    )
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
