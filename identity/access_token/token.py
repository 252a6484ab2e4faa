"""Verify one Access token and say who it is (ingress.md 6; RFC 7519, RFC 8725).

Fails closed: whatever is not exactly as demanded is an `AccessDenied` with a reason for the log. The reason never
holds the token or a claim that the visitor chose.

AccessDenied          refuse with 403                        (caught by the connector's access stage)
└── UnknownKey        perhaps the team rotated its keys      (caught there: fetch once more, then refuse)
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from joserfc import jws
from joserfc.errors import JoseError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyconnector.identity.access_token.keys import AccessKeys
    from pyconnector.identity.access_token.policy import AccessPolicy

#: The request header that carries the token, as the edge writes it.
TOKEN_HEADER = b"Cf-Access-Jwt-Assertion"
#: Labels of an identity that are looked at.
MAX_LABELS = 20
#: Largest token that is looked at; real ones are 1 to 2 KiB.
MAX_TOKEN_BYTES = 16_384
#: Seconds by which the clocks of issuer and connector may differ.
CLOCK_SKEW = 60.0
#: Largest date that is taken for one, in seconds since the epoch: whole seconds fit a float below it.
MAX_DATE = 2**53
#: Signatures that Access makes; `none` and the HMAC family are not among them.
ALGORITHMS = {"RS256": "RSA", "ES256": "EC"}
#: The `type` of a token for an application; `org` tokens are for the login page.
APPLICATION_TYPE = "app"


class AccessDenied(Exception):
    """The request may not pass. The text says why, for the log."""


class UnknownKey(AccessDenied):
    """The token names a key that the team's document does not hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who a verified token stands for."""

    kind: str
    "`user` or `service`."
    name: str
    "A user's e-mail address (or subject where there is none); a service token's client id."
    subject: str
    expires: float
    "Seconds since the epoch after which the token is worth nothing."
    role: str = ""
    "Of a service token, where whoever issued it gives roles (an extension, `custom.role`)."
    labels: frozenset[str] = frozenset()
    "Likewise, `custom.labels`."
    token_name: str = ""
    "Likewise, `custom.name`: what a person called the token."

    def is_any_of(self, allowed: Iterable[str]) -> bool:
        """Return whether it is one of `role:`, `label:`, `token:` (a client id), `name:` (of a token) or `email:`."""
        for entry in allowed:
            kind, _, value = entry.partition(":")
            if self.kind == "service":
                if value and value == {"role": self.role, "token": self.name, "name": self.token_name}.get(kind):
                    return True
                if kind == "label" and value in self.labels:
                    return True
            elif kind == "email" and value.lower() == self.name.lower():
                return True
        return False


def verify(token: bytes, *, policy: AccessPolicy, keys: AccessKeys, now: float) -> Identity:
    """Return the identity that `token` proves under `policy` at `now` (seconds since the epoch).

    Raises:
        UnknownKey: signed with a key that `keys` lacks.
        AccessDenied: anything else is wrong with it.
    """
    return _identity(signed_claims(token, keys), policy, now)


def signed_claims(token: bytes, keys: AccessKeys) -> dict[str, Any]:
    """Return what a token says, whose signature is right; nothing of it is judged yet.

    Raises:
        UnknownKey: signed with a key that `keys` lacks.
        AccessDenied: it is no such token.
    """
    if not token:
        raise AccessDenied("the request carries no Access token")
    if len(token) > MAX_TOKEN_BYTES:
        raise AccessDenied("the Access token is too large")
    parts = token.split(b".")
    if len(parts) != 3 or not all(parts):
        raise AccessDenied("the Access token is malformed")
    header = _decoded(parts[0])
    algorithm, key_id = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise AccessDenied("the Access token is not signed with RS256 or ES256")
    if "crit" in header or "b64" in header:
        raise AccessDenied("the Access token demands extensions that are not understood")
    key = keys.by_id.get(key_id) if isinstance(key_id, str) else None
    if key is None:
        raise UnknownKey("the Access token is signed with a key that its team does not publish")
    if key.key_type != ALGORITHMS[algorithm]:
        raise AccessDenied("the Access token's algorithm does not fit its key")
    try:
        jws.deserialize_compact(token, key, algorithms=[algorithm])
    except (JoseError, ValueError, TypeError) as error:
        raise AccessDenied("the Access token's signature is wrong") from error
    return _decoded(parts[1])


def _decoded(part: bytes) -> dict[str, Any]:
    try:
        # Strict alphabet and no padding (RFC 7515 2): Python's decoder alone passes over what it does not know.
        if not part.replace(b"-", b"").replace(b"_", b"").isalnum():
            raise ValueError("not base64url")
        value = json.loads(base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4)))
    except (ValueError, binascii.Error, RecursionError) as error:
        raise AccessDenied("the Access token is malformed") from error
    if not isinstance(value, dict):
        raise AccessDenied("the Access token is malformed")
    return value


def _identity(claims: dict[str, Any], policy: AccessPolicy, now: float) -> Identity:
    if claims.get("iss") != policy.issuer:
        raise AccessDenied("the Access token was issued by another team")
    audience = claims.get("aud")
    audiences = [audience] if isinstance(audience, str) else audience
    if not isinstance(audiences, list) or not any(isinstance(a, str) and a in policy.audiences for a in audiences):
        raise AccessDenied("the Access token is meant for another application")
    if claims.get("type") != APPLICATION_TYPE:
        raise AccessDenied("the Access token is not an application token")
    expires = _seconds(claims, "exp")
    if expires is None or now >= expires + CLOCK_SKEW:
        raise AccessDenied("the Access token has expired")
    begins = _seconds(claims, "nbf") if "nbf" in claims else -math.inf
    if begins is None or now < begins - CLOCK_SKEW:
        raise AccessDenied("the Access token is not valid yet")
    subject, email, service = (_text(claims, name) for name in ("sub", "email", "common_name"))
    if service and not subject:
        custom = claims["custom"] if isinstance(claims.get("custom"), dict) else {}
        labels = custom["labels"] if isinstance(custom.get("labels"), list) else []
        return Identity(
            kind="service", name=service, subject="", expires=expires, role=_text(custom, "role"),
            labels=frozenset(label for label in labels[:MAX_LABELS] if isinstance(label, str)),
            token_name=_text(custom, "name"),
        )  # fmt: skip
    if not (subject or email):
        raise AccessDenied("the Access token names nobody")
    return Identity(kind="user", name=email or subject, subject=subject, expires=expires)


def _seconds(claims: dict[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not -MAX_DATE <= value <= MAX_DATE:
        return None  # NaN is within no bounds, and a whole number of 400 digits is no float
    return float(value)


def _text(claims: dict[str, Any], name: str) -> str:
    """A claim as text that cannot break a header or a log line."""
    value = claims.get(name)
    return value if isinstance(value, str) and value.isprintable() and len(value) <= 320 else ""
