"""An OpenID provider for tests, in this process: right by default (PKCE, one use of a code, the client's secret), and
wrong in whatever way a test says. Signs with joserfc."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from joserfc import jwk, jws

CLIENT, SECRET = "mesh: edge", "the client's + secret/"


def new_key(kid: str, kind: str = "RSA") -> jwk.RSAKey | jwk.ECKey:
    if kind == "RSA":
        return jwk.RSAKey.generate_key(2048, {"kid": kid, "use": "sig"})
    return jwk.ECKey.generate_key("P-256", {"kid": kid, "use": "sig"})


@dataclass
class Provider:
    """What it does, and what it was asked."""

    address: tuple[str, int] = ("", 0)
    keys: list[jwk.RSAKey | jwk.ECKey] = field(default_factory=lambda: [new_key("one", "EC")])
    "The first one signs."
    person: dict[str, Any] = field(
        default_factory=lambda: {"sub": "1", "email": "Ann@Example.com", "email_verified": True, "name": "Ann"}
    )
    in_id_token: bool = True
    "Whether e-mail address and name are in the ID token, or at the userinfo endpoint alone."
    change: Callable[[dict[str, Any]], dict[str, Any]] = lambda claims: claims
    "What is wrong with an ID token."
    header: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] | None = None
    "What the userinfo endpoint says, where that is wrong."
    asked: list[str] = field(default_factory=list)
    broken: str = ""
    "A path that answers 500."
    hangs: str = ""
    "A path that never answers."
    metadata: dict[str, Any] = field(default_factory=dict)
    "What is different in the metadata."
    _codes: dict[str, dict[str, str]] = field(default_factory=dict)
    _tokens: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.address[1]}"

    def config(self, **more: Any) -> dict[str, Any]:
        """As an identity provider's config."""
        return {"issuer_url": self.issuer, "client_id": CLIENT, "client_secret": SECRET, **more}

    def approve(self, url: str, code: str = "") -> str:
        """The person says yes: where the browser is sent."""
        query = dict(parse_qsl(urlsplit(url).query, strict_parsing=True))
        assert url.startswith(f"{self.issuer}/authorize?")
        assert query["response_type"] == "code"
        assert query["client_id"] == CLIENT
        assert query["code_challenge_method"] == "S256"
        assert len(query["code_challenge"]) == 43
        assert "openid" in query["scope"].split()
        code = code or hashlib.sha256(query["state"].encode()).hexdigest()
        self._codes[code] = query
        return f"{query['redirect_uri']}?code={code}&state={query['state']}"

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        path = target.partition("?")[0]
        self.asked.append(path)
        if path == self.broken:
            return 500, b"{}"
        if path == "/.well-known/openid-configuration":
            return 200, json.dumps(self._metadata()).encode()
        if path == "/keys":
            return 200, json.dumps({"keys": [key.as_dict(private=False) for key in self.keys]}).encode()
        if path == "/token" and method == "POST":
            return self._token(headers, dict(parse_qsl(body.decode(), strict_parsing=True)))
        if path == "/me":
            person = self._tokens.get(headers.get("authorization", ""))
            return (401, b"{}") if person is None else (200, json.dumps(self.about or person).encode())
        return 404, b"{}"

    def _metadata(self) -> dict[str, Any]:
        names = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys",
                 "userinfo_endpoint": "me"}  # fmt: skip
        return {
            "issuer": self.issuer,
            **{name: f"{self.issuer}/{path}" for name, path in names.items()},
        } | self.metadata

    def _token(self, headers: dict[str, str], form: dict[str, str]) -> tuple[int, bytes]:
        pair = base64.b64encode(b"mesh%3A%20edge:the%20client%27s%20%2B%20secret%2F").decode()
        query = self._codes.pop(form["code"], None)  # a code counts once
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=")
        if headers.get("authorization") != f"Basic {pair}" or query is None:
            return 401, b'{"error": "invalid_client"}'
        if challenge.decode() != query["code_challenge"] or form["redirect_uri"] != query["redirect_uri"]:
            return 400, b'{"error": "invalid_grant"}'
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 60, "nonce": query["nonce"],
                  "sub": self.person["sub"], **(self.person if self.in_id_token else {})}  # fmt: skip
        key = self.keys[0]
        algorithm = "RS256" if key.key_type == "RSA" else "ES256"
        protected = {"alg": algorithm, "kid": key.kid} | self.header
        text = json.dumps(self.change(claims)).encode()
        if protected["alg"] == algorithm:
            token = jws.serialize_compact(protected, text, key, algorithms=[algorithm])
        else:
            parts = [
                base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (json.dumps(protected).encode(), text)
            ]
            token = f"{parts[0]}.{parts[1]}."
        self._tokens["Bearer access"] = self.person
        return 200, json.dumps({"access_token": "access", "token_type": "Bearer", "id_token": token}).encode()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                method, target, _ = head[0].split(" ")
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                if target.startswith("/authorize?"):  # a browser that is sent here: the person says yes
                    location = self.approve(self.issuer + target)
                    writer.write(b"HTTP/1.1 302 X\r\nContent-Length: 0\r\nLocation: %b\r\n\r\n" % location.encode())
                    continue
                if target.partition("?")[0] == self.hangs:
                    self.asked.append(self.hangs)
                    await reader.read()
                    return
                status, text = self.answer(method, target, headers, body)
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(text), text))
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def running_provider() -> AsyncIterator[Provider]:
    provider = Provider()
    server = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
    provider.address = server.sockets[0].getsockname()[:2]
    async with server:
        yield provider
        server.close()
