"""Keys of WireGuard, and the file that a device is set up with. Pure: randomness is an argument."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

if TYPE_CHECKING:
    from collections.abc import Sequence
    from ipaddress import IPv4Address, IPv4Network, IPv6Network

#: Bytes of a key.
KEY_BYTES: Final = 32
#: What every path carries, IPv6 or not (mesh.md 1).
MTU: Final = 1280
#: Seconds between packets that keep the way open through address translation.
KEEPALIVE: Final = 25
_NO_KEYS = (bytes(KEY_BYTES), b"\x01" + bytes(KEY_BYTES - 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class WireGuardSetup:
    """What a device has to know."""

    private_key: str = field(repr=False)
    address: IPv4Address
    server_key: str
    endpoint: str
    "HOST:PORT of the edge."
    dns: IPv4Address | None
    "Where it asks for names; None leaves it what it has."
    networks: Sequence[IPv4Network | IPv6Network]
    "What is sent through the tunnel."

    def text(self) -> str:
        """Return the file, as `wg-quick` and the apps read it."""
        lines = (
            "[Interface]",
            f"PrivateKey = {self.private_key}",
            f"Address = {self.address}/32",
            *([f"DNS = {self.dns}"] if self.dns is not None else []),
            f"MTU = {MTU}",
            "",
            "[Peer]",
            f"PublicKey = {self.server_key}",
            f"AllowedIPs = {', '.join(map(str, self.networks))}",
            f"Endpoint = {self.endpoint}",
            f"PersistentKeepalive = {KEEPALIVE}",
        )
        return "\n".join(lines) + "\n"


def make_private_key(entropy: bytes) -> str:
    """Return a private key made of `KEY_BYTES` random bytes, in base64, as `wg genkey` writes it.

    Raises:
        ValueError: they are not so many.
    """
    if len(entropy) != KEY_BYTES:
        raise ValueError(f"a key is made of {KEY_BYTES} random bytes")
    clamped = bytes([entropy[0] & 248, *entropy[1:31], entropy[31] & 127 | 64])
    return base64.b64encode(clamped).decode("ascii")


def public_key_of(private_key: str) -> str:
    """Return the public key of a private one, in base64.

    Raises:
        ValueError: it is no key.
    """
    public = X25519PrivateKey.from_private_bytes(key_bytes(private_key)).public_key()
    raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return base64.b64encode(raw).decode("ascii")


def key_bytes(text: str) -> bytes:
    """Return the bytes of a key, which is written in one way only.

    Raises:
        ValueError: it is none, or one that everybody knows the secret of.
    """
    try:
        raw = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raw = b""
    if len(raw) != KEY_BYTES or base64.b64encode(raw).decode("ascii") != text or raw in _NO_KEYS:
        raise ValueError("A key of WireGuard is 32 bytes in base64, as `wg pubkey` writes it.")
    return raw
