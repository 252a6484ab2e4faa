"""What travels through a browser and comes back: sealed, dated, and for one purpose, so that no edge keeps a login.

The key is made of the mesh's signing keys, which all edges have: what one sealed another opens.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

#: Characters of a sealed value that is looked at.
MAX_SEALED = 8192


class Sealer:
    """Seals and opens values for one purpose."""

    def __init__(self, keys: Sequence[RSAPrivateKey], purpose: str) -> None:
        """`keys` are the signing keys that count, the one to seal with first."""
        self._box = MultiFernet([Fernet(_derived(key, purpose)) for key in keys])

    def seal(self, value: dict[str, Any], now: float) -> str:
        """Return `value`, sealed at `now`, seconds since the epoch."""
        return self._box.encrypt_at_time(json.dumps(value).encode("ascii"), int(now)).decode("ascii")

    def open(self, sealed: str | bytes, *, seconds: int, now: float) -> dict[str, Any] | None:
        """Return the value of what was sealed at most `seconds` ago; None where it is nothing of ours, or too old."""
        text = sealed.encode("utf-8", "replace") if isinstance(sealed, str) else sealed
        if not text or len(text) > MAX_SEALED:
            return None
        try:
            value = json.loads(self._box.decrypt_at_time(text, seconds, int(now)))
        except (InvalidToken, ValueError):
            return None
        return value if isinstance(value, dict) else None


def _derived(key: RSAPrivateKey, purpose: str) -> bytes:
    encoded = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    made = HKDF(hashes.SHA256(), 32, salt=None, info=f"pyconnector login {purpose}".encode()).derive(encoded)
    return base64.urlsafe_b64encode(made)
