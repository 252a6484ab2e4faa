"""The public keys that a team publishes, as one immutable set (RFC 7517)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from joserfc import jwk

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Largest key document that is read. A real one holds a handful of keys in about 10 KiB.
MAX_KEYS_BYTES = 262_144
#: Most keys that are taken from one document.
MAX_KEYS = 64
#: RSA keys below this are no protection (NIST SP 800-131A).
MIN_RSA_BITS = 2048


class UnusableKeys(Exception):
    """A key document could not be used. The text is fit for a log."""


@dataclass(frozen=True, slots=True)
class AccessKeys:
    """Verification keys by key id."""

    by_id: Mapping[str, jwk.RSAKey | jwk.ECKey]


def parse_keys(document: bytes) -> AccessKeys:
    """Read a JWKS document; keys of other types, without an id, or too weak are passed over.

    Raises:
        UnusableKeys: not a JWKS, too large, or without a single usable key.
    """
    if len(document) > MAX_KEYS_BYTES:
        raise UnusableKeys(f"the key document is larger than {MAX_KEYS_BYTES} bytes")
    try:
        entries = json.loads(document)["keys"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UnusableKeys("the key document is not a JSON Web Key Set") from error
    if not isinstance(entries, list):
        raise UnusableKeys("the key document is not a JSON Web Key Set")
    keys: dict[str, jwk.RSAKey | jwk.ECKey] = {}
    for entry in entries[:MAX_KEYS]:
        key = _usable(entry)
        if key is not None:
            keys[str(entry["kid"])] = key
    if not keys:
        raise UnusableKeys("the key document holds no usable RSA or P-256 key")
    return AccessKeys(keys)


def _usable(entry: object) -> jwk.RSAKey | jwk.ECKey | None:
    if not isinstance(entry, dict) or not isinstance(entry.get("kid"), str) or entry.get("use", "sig") != "sig":
        return None
    # A private key in a public document is somebody's accident; only the public part is of use here.
    public = {
        name: value for name, value in entry.items() if name in {"kty", "kid", "use", "alg", "n", "e", "crv", "x", "y"}
    }
    try:
        if public.get("kty") == "RSA":
            rsa = jwk.RSAKey.import_key(public)
            return rsa if rsa.public_key.key_size >= MIN_RSA_BITS else None
        if public.get("kty") == "EC" and public.get("crv") == "P-256":
            return jwk.ECKey.import_key(public)
    except Exception:  # noqa: BLE001 - libraries raise many kinds for odd numbers; one bad key must not cost the others
        return None
    return None
