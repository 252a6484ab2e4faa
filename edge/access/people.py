"""Who shows a token that this mesh issued for a person; `edge.access.identify` does the same for service tokens."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, ClassVar

from pyconnector.edge.access.not_identified import NotIdentified
from pyconnector.identity.access_token.scope import is_within
from pyconnector.identity.access_token.signing import APPLICATION, NARROWED
from pyconnector.identity.access_token.token import AccessDenied
from pyconnector.identity.people.person import ORGANIZATION_TYPE, Person, person_of
from pyconnector.identity.policies.policy import Reason
from pyconnector.identity.policies.rules import Address, Caller

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyconnector.edge.access.credentials import Token
    from pyconnector.edge.access.issuer import Issuer
    from pyconnector.edge.access.state import AccessState
    from pyconnector.identity.applications.application import Application


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentifiedPerson:
    """A person whose session lives, by a token for one application."""

    person: Person
    application: Application
    expires: float
    "Seconds since the epoch at which the token ends, and with it what runs under it."
    text: bytes = field(repr=False)
    claims: Mapping[str, Any] = field(default_factory=dict, repr=False)
    grant: None = None
    "Grants are for service tokens."
    token: ClassVar[None] = None

    @property
    def is_narrowed(self) -> bool:
        """Whether what was shown is for some paths or methods alone."""
        return self.claims.get("type") == NARROWED

    def renewed(self, application: Application) -> IdentifiedPerson:
        """Return the same with the application as it is now."""
        return replace(self, application=application)

    def caller(self, address: Address | None) -> Caller:
        """Return who that is to policies."""
        return caller_of(self.person, address)

    def covers(self, method: str, raw_path: str) -> bool:
        """Return whether what was shown is for this: all of its application, unless it is narrowed."""
        return not self.is_narrowed or is_within(self.claims, method, raw_path)


def caller_of(person: Person, address: Address | None) -> Caller:
    """Return a person as policies see one."""
    return Caller(
        address=address, user=person.subject, email=person.email, provider=person.provider, session=person.nonce,
        begun=person.begun, claims=person.claims or None,
    )  # fmt: skip


def identify_person(
    credential: Token, binding: bytes, state: AccessState, issuer: Issuer, now: float
) -> IdentifiedPerson | None:
    """Return the person whom `credential` names at `now`, seconds since the epoch; None where it is no person's.

    `binding` is what the browser shows beside a cookie.

    Raises:
        NotIdentified: a person's, and not good for anything (any more), or not in this browser.
    """
    try:
        claims = issuer.verified(credential.text)
    except AccessDenied:
        return None  # whose it was meant to be is nobody's guess
    if claims.get("type") not in (APPLICATION, NARROWED) or (person := person_of(claims)) is None:
        return None
    expires, issued = _dates(claims)
    if claims["type"] == NARROWED:
        # It is revoked with the token that it was made of.
        parent = claims.get("parent_iat")
        issued = float(parent) if type(parent) is int else 0.0
    if now >= expires:
        raise NotIdentified(Reason.BAD_TOKEN, guessing=False)
    if credential.from_cookie and not _fits(claims, binding):
        # Planted by a neighbouring host, or taken out of another browser.
        raise NotIdentified(Reason.BAD_TOKEN, guessing=False)
    audience = claims.get("aud")
    named = audience[0] if isinstance(audience, list) and len(audience) == 1 else None
    application = state.applications.of_audience(named) if isinstance(named, str) else None
    live = state.is_live(person.email, person.provider, person.nonce, person.begun)
    if application is None or not live or issued < application.valid_after:
        raise NotIdentified(Reason.REVOKED, guessing=False)
    return IdentifiedPerson(
        person=person, application=application, expires=expires, text=credential.text, claims=claims
    )


def session_of(text: bytes, state: AccessState, issuer: Issuer, now: float) -> Person | None:
    """Return whose global session a token of the login page is; None where it is none that lives."""
    organization = state.organization
    if not text or organization is None:
        return None
    try:
        claims = issuer.verified(text)
    except AccessDenied:
        return None
    person = person_of(claims)
    if person is None or claims.get("type") != ORGANIZATION_TYPE or claims.get("aud") != [organization.audience]:
        return None
    if now >= _dates(claims)[0] or not state.is_live(person.email, person.provider, person.nonce, person.begun):
        return None
    return person


def binding_digest(binding: bytes) -> str:
    """Return what a token holds of the cookie that is shown beside it."""
    return sha256(b"binding:" + binding).hexdigest()


def _fits(claims: Mapping[str, Any], binding: bytes) -> bool:
    said = claims.get("binding")
    return isinstance(said, str) and bool(binding) and hmac.compare_digest(said, binding_digest(binding))


def _dates(claims: Mapping[str, Any]) -> tuple[float, float]:
    """Return when a token ends and when it was issued; it never began where it does not say so."""
    expires, issued = claims.get("exp"), claims.get("iat")
    if type(expires) is not int or type(issued) is not int:
        return 0.0, 0.0
    return float(expires), float(issued)
