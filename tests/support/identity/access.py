"""A team that signs Access tokens, for tests: its keys, its documents, its good and bad tokens."""

from __future__ import annotations

import base64
import json
from typing import Any

from joserfc import jwk, jws

NOW = 1_800_000_000.0
TEAM = "acme"
ISSUER = f"https://{TEAM}.cloudflareaccess.com"
AUDIENCE = "5d3c0a9f" * 8


class Team:
    """Two signing keys and the document that publishes them."""

    def __init__(self, *, now: float = NOW) -> None:
        self.now = now
        self.rsa = jwk.RSAKey.generate_key(2048, {"kid": "rsa-1", "use": "sig"})
        self.ec = jwk.ECKey.generate_key("P-256", {"kid": "ec-1", "use": "sig"})

    def document(self, *keys: jwk.RSAKey | jwk.ECKey) -> bytes:
        """The JWKS document with `keys`, or with both."""
        chosen = keys or (self.rsa, self.ec)
        return json.dumps({"keys": [key.as_dict(private=False) for key in chosen]}).encode()

    def token(
        self, *, key: jwk.RSAKey | jwk.ECKey | None = None, header: dict[str, Any] | None = None, **claims: Any
    ) -> bytes:
        """A token that is good unless told otherwise; a claim of None leaves it out."""
        key = key or self.rsa
        algorithm = "RS256" if key.key_type == "RSA" else "ES256"
        protected = {"alg": algorithm, "kid": key.kid, **(header or {})}
        payload: dict[str, Any] = {
            "iss": ISSUER,
            "aud": [AUDIENCE],
            "exp": self.now + 3600,
            "iat": self.now,
            "nbf": self.now,
            "type": "app",
            "sub": "7335d417-61da-459d-899c-0a01c76a2f94",
            "email": "dev@acme.example",
        }
        payload.update(claims)
        body = json.dumps({name: value for name, value in payload.items() if value is not None}).encode()
        return jws.serialize_compact(protected, body, key, algorithms=[algorithm]).encode()


def unsigned(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"x") -> bytes:
    """A token put together by hand."""

    def part(value: bytes) -> bytes:
        return base64.urlsafe_b64encode(value).rstrip(b"=")

    return b".".join((part(json.dumps(header).encode()), part(json.dumps(claims).encode()), part(signature)))
