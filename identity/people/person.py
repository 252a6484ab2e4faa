"""A person who logged in, and what tokens say of one (access.md 5). Pure.

A session is what a login begins: `nonce` names it, in the token of the login page (`org`) and in those for applications
(`app`), so that ending it ends all of them.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The `type` of a token for the login page: it opens no application.
ORGANIZATION_TYPE = "org"
#: Characters of an e-mail address (RFC 5321 4.5.3.1.3), and of a name that is shown.
MAX_EMAIL, MAX_NAME = 254, 200
_EMAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}\.)*[A-Za-z0-9-]{1,63}")
_NONCE = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Who logged in, when, and by what."""

    subject: str
    "A UUID, the same for each login of one address."
    email: str
    "In lower case."
    name: str = ""
    provider: str
    "The id of the identity provider that said so."
    nonce: str
    "The session: 32 hexadecimal digits."
    begun: float
    "When they logged in, in seconds since the epoch."
    claims: dict[str, list[str]] = field(default_factory=dict)
    "What the identity provider said besides, as far as it is kept: groups, for instance."


def email_of(text: str) -> str | None:
    """Return an e-mail address as it is compared, in lower case; None where it is none.

    ASCII alone: two letters that look alike must not be two people to one reader and one to another.
    """
    return text.lower() if len(text) <= MAX_EMAIL and _EMAIL.fullmatch(text) else None


def subject_of(account_id: str, email: str) -> str:
    """Return the subject of an address (in lower case) in one account: the same everywhere, without asking anybody."""
    return str(uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_URL, f"pyconnector:{account_id}"), email))


def session_claims(person: Person, *, issuer: str, audience: str, now: float, seconds: float) -> dict[str, Any]:
    """Return what the token of a global session says. `audience` is the organization's."""
    return _claims(person, ORGANIZATION_TYPE, issuer, audience, now, seconds)


def application_claims(
    person: Person, *, issuer: str, audience: str, now: float, seconds: float, binding: str
) -> dict[str, Any]:
    """Return what a person's token for an application says.

    `binding` is the digest of what the browser shows beside it in a cookie of its own, empty for none.
    """
    claims = _claims(person, "app", issuer, audience, now, seconds)
    return claims | ({"binding": binding} if binding else {})


def person_of(claims: Mapping[str, Any]) -> Person | None:
    """Return the person of claims whose signature is right; None where they are about none."""
    texts = [claims.get(name) for name in ("sub", "email", "idp", "identity_nonce")]
    begun, name = claims.get("auth_time"), claims.get("name", "")
    if isinstance(begun, bool) or not isinstance(begun, int | float) or not 0 <= begun < 2**53:
        return None
    if not all(isinstance(text, str) and text for text in texts) or not isinstance(name, str):
        return None
    subject, email, provider, nonce = map(str, texts)
    custom = claims.get("custom") or {}
    if not isinstance(custom, dict) or not all(isinstance(values, list) for values in custom.values()):
        return None
    if email_of(email) != email or not _NONCE.fullmatch(nonce) or claims.get("common_name"):
        return None
    return Person(
        subject=subject, email=email, name=name, provider=provider, nonce=nonce, begun=float(begun), claims=custom
    )


def _claims(person: Person, kind: str, issuer: str, audience: str, now: float, seconds: float) -> dict[str, Any]:
    return {
        "type": kind, "aud": [audience], "iss": issuer, "sub": person.subject, "email": person.email,
        "iat": int(now), "nbf": int(now), "exp": int(now + seconds), "identity_nonce": person.nonce,
        "auth_time": round(person.begun, 3), "idp": person.provider,
        **({"name": person.name} if person.name else {}),
        **({"custom": person.claims} if person.claims else {}),
    }  # fmt: skip
