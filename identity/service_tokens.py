"""Service tokens: how their secrets look, what is kept of them, and whether a secret is the right one. Pure.

Two forms of secrets are in use (api.md 7.1): 64 hexadecimal digits, and `cfast_` with 40 letters and digits and 8 of a
checksum. Only SHA-256 digests are kept: a secret is random and has more than 230 bits, so a plain hash does.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import string
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

#: What the newer form of a secret begins with.
PREFIX = "cfast_"
#: Random bytes that a secret of either form is made of.
ENTROPY_BYTES = 48
#: Characters of a secret that is looked at.
MAX_SECRET = 256
#: Labels of one token, and characters of each, of a role and of an owner.
MAX_LABELS = 20
MAX_LABEL = 64
_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_CLIENT_ID = re.compile(r"[0-9a-f]{32}\.access")
#: For what a log must never show, wherever it stands in a text.
SECRET_PATTERN = re.compile(r"\bcfast_[0-9A-Za-z]{40}[0-9a-f]{8}\b|\b[0-9a-f]{64}\b")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/=@+-]*")
_NOBODY = hashlib.sha256(b"no such token").digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretDigest:
    """What is kept of one secret."""

    sha256: bytes = field(repr=False)
    expires: float | None = None
    "Seconds since the epoch from which on it is worth nothing; None where it lives as long as its token."


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceToken:
    """A service token as an edge knows it. Moments are seconds since the epoch."""

    id: str
    client_id: str
    name: str
    secrets: tuple[SecretDigest, ...] = field(repr=False)
    "The current one, and during the grace of a rotation the one before."
    enabled: bool = True
    expires: float | None = None
    valid_after: float = 0.0
    "Tokens that were issued for it earlier are worth nothing any more."
    role: str = ""
    labels: frozenset[str] = frozenset()
    owner: str = ""

    def lives(self, now: float) -> bool:
        """Return whether it may be used at all."""
        return self.enabled and (self.expires is None or now < self.expires)


def make_secret(entropy: bytes) -> str:
    """Return a secret of the newer form, made of `ENTROPY_BYTES` random bytes."""
    number = int.from_bytes(_checked(entropy), "big")
    letters = []
    for _ in range(40):  # 238 bits; of 384 the rest makes every letter as likely as any other
        number, index = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[index])
    body = PREFIX + "".join(letters)
    return f"{body}{zlib.crc32(body.encode('ascii')):08x}"


def make_older_secret(entropy: bytes) -> str:
    """Return a secret of the form until August 2026, made of `ENTROPY_BYTES` random bytes."""
    return hashlib.sha256(_checked(entropy)).hexdigest()


def is_secret(text: str) -> bool:
    """Return whether `text` has one of the two forms, a right checksum included."""
    if not text.isascii() or SECRET_PATTERN.fullmatch(text) is None:
        return False
    return not text.startswith(PREFIX) or f"{zlib.crc32(text[:-8].encode('ascii')):08x}" == text[-8:]


def is_client_id(text: str) -> bool:
    """Return whether `text` has the form of a client id: 32 hexadecimal digits and `.access`."""
    return _CLIENT_ID.fullmatch(text) is not None


def digest(secret: str) -> bytes:
    """Return what is kept of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def fits(token: ServiceToken | None, secret: str, now: float) -> bool:
    """Return whether `secret` is one of a living `token`'s, in a time that depends on neither.

    A token that is not there (None) takes as long as one that is.
    """
    shown = digest(secret[: MAX_SECRET + 1])
    right = False
    for kept in (token.secrets if token is not None else ()) or (SecretDigest(sha256=_NOBODY),):
        same = hmac.compare_digest(kept.sha256, shown)
        right |= same and (kept.expires is None or now < kept.expires)
    return right and token is not None and token.lives(now)


def check_names(role: str, labels: Iterable[str], owner: str) -> None:
    """Refuse a role, labels or an owner that could not be told from others in a header, a log or a policy.

    Raises:
        ValueError: with one sentence.
    """
    labels = list(labels)
    if len(labels) > MAX_LABELS:
        raise ValueError(f"A service token has at most {MAX_LABELS} labels.")
    for kind, text in (("role", role), *(("label", label) for label in labels)):
        if (text or kind == "label") and (len(text) > MAX_LABEL or not _LABEL.fullmatch(text)):
            raise ValueError(
                f"A {kind} has 1 to {MAX_LABEL} letters, digits and ._:/=@+-, the first a letter or digit."
            )
    if len(owner) > 255 or not owner.isprintable():
        raise ValueError("An owner has at most 255 printable characters.")


def _checked(entropy: bytes) -> bytes:
    if len(entropy) != ENTROPY_BYTES:
        raise ValueError(f"a secret is made of {ENTROPY_BYTES} random bytes")
    return entropy
