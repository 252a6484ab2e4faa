"""Management tokens for tests, signed by a control plane's key of their own."""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwt
from joserfc.jwk import ECKey


def new_key() -> str:
    """A private key as a control plane keeps it."""
    return (
        ec.generate_private_key(ec.SECP256R1())
        .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        .decode()
    )


KEY = new_key()


def management_token(tunnel_id: str, *, actor: str = "me", key: str = KEY, **claims: Any) -> str:
    """A token as `control.api.routes.management` makes them; `claims` replace its own."""
    told = {
        "iss": "tunnelstore",
        "exp": 2_000_000_000,
        "tun": {"id": tunnel_id, "account_tag": "account"},
        "actor": {"id": actor, "support": False},
        "res": ["logs"],
    } | claims
    return jwt.encode({"alg": "ES256", "typ": "JWT"}, told, ECKey.import_key(key))
