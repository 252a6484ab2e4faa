"""Issue tokens as Access does (access.md 5): RS256 under one of our own keys, the header byte for byte. Pure.

cloudflared writes a token anew when it stores it, with its header as compact sorted JSON; a header in any other form
would no longer fit its signature.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyconnector.identity.service_tokens import ServiceToken

#: Bits of a key.
KEY_BITS = 2048
#: Lifetimes of a narrowed session token, in seconds.
MIN_NARROWED, MAX_NARROWED = 300, 3600
#: The `type` of tokens for an application, of narrowed ones, and of the answer to a metadata request.
APPLICATION, NARROWED, MATCH = "app", "session", "match"


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """A private key and the id under which its public part is published."""

    id: str
    private: rsa.RSAPrivateKey = field(repr=False)


def load_key(pem: str) -> SigningKey:
    """Return the key of a PEM text without a password.

    Raises:
        ValueError: it is no RSA key of at least `KEY_BITS`.
    """
    try:
        private = serialization.load_pem_private_key(pem.encode("ascii"), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ValueError("the signing key is no private key") from error
    if not isinstance(private, rsa.RSAPrivateKey) or private.key_size < KEY_BITS:
        raise ValueError(f"the signing key is no RSA key of {KEY_BITS} bits")
    return SigningKey(id=key_id(private.public_key()), private=private)


def key_id(public: rsa.RSAPublicKey) -> str:
    """Return the id of a public key: 64 hexadecimal digits, made of the key itself."""
    encoded = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(encoded).hexdigest()


def public_jwk(key: SigningKey) -> dict[str, str]:
    """Return the public part as an entry of a key set (RFC 7517)."""
    numbers = key.private.public_key().public_numbers()
    return {
        "kid": key.id, "kty": "RSA", "alg": "RS256", "use": "sig", "e": _number(numbers.e), "n": _number(numbers.n),
    }  # fmt: skip


def sign(key: SigningKey, claims: Mapping[str, Any]) -> bytes:
    """Return a token with `claims`, in compact form (RFC 7515)."""
    header = b'{"alg":"RS256","kid":"%b","typ":"JWT"}' % key.id.encode("ascii")
    payload = json.dumps(claims, separators=(",", ":"), allow_nan=False).encode("ascii")
    signed = b"%b.%b" % (_base64(header), _base64(payload))
    return b"%b.%b" % (signed, _base64(key.private.sign(signed, padding.PKCS1v15(), hashes.SHA256())))


def service_claims(token: ServiceToken, *, issuer: str, audience: str, now: float, seconds: float) -> dict[str, Any]:
    """Return what a token for an application says of a service token: `common_name` and no `sub`.

    Name, role, labels and owner stand in `custom`, which Access has for claims of others and nobody else's.
    """
    custom: dict[str, Any] = {}
    if token.name:
        custom["name"] = token.name
    if token.role:
        custom["role"] = token.role
    if token.labels:
        custom["labels"] = sorted(token.labels)
    if token.owner:
        custom["owner"] = token.owner
    claims: dict[str, Any] = {
        "type": APPLICATION, "aud": [audience], "exp": int(now + seconds), "iss": issuer,
        "common_name": token.client_id, "iat": int(now), "sub": "",
    }  # fmt: skip
    return claims | ({"custom": custom} if custom else {})


def narrowed_claims(
    parent: Mapping[str, Any], *, now: float, seconds: int, path: str, methods: tuple[str, ...], number: str
) -> dict[str, Any]:
    """Return what a narrowed token says, made of the claims of a token for an application that ends no earlier.

    `number` is one that no other has.
    """
    claims = dict(parent) | {
        "type": NARROWED, "iat": int(now), "exp": min(int(now) + seconds, int(parent["exp"])), "jti": number,
        "parent_iat": parent["iat"],
    }  # fmt: skip
    return claims | ({"path": path} if path else {}) | ({"methods": list(methods)} if methods else {})


def _number(value: int) -> str:
    return _base64(value.to_bytes((value.bit_length() + 7) // 8, "big")).decode("ascii")


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
