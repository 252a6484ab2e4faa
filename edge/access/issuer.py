"""Signs what this edge issues, and says of tokens whether this mesh issued them. The JOSE library is loaded here."""

from __future__ import annotations

import base64
import json
import math
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pyconnector.edge.access.identify import Identified, identify
from pyconnector.identity.access_token.keys import AccessKeys, parse_keys
from pyconnector.identity.access_token.signing import SigningKey, load_key, public_jwk, service_claims, sign
from pyconnector.identity.access_token.token import AccessDenied, signed_claims
from pyconnector.identity.people.person import application_claims

if TYPE_CHECKING:
    from pyconnector.edge.access.credentials import Pair, Token
    from pyconnector.edge.access.people import IdentifiedPerson
    from pyconnector.edge.access.state import AccessState
    from pyconnector.identity.applications.application import Application
    from pyconnector.identity.service_tokens import ServiceToken

#: Assertions, and verified tokens, that are remembered.
MAX_REMEMBERED = 10_000
#: Seconds before its end at which an assertion is made anew, and the shortest life of one.
RENEW_BEFORE = 30.0
MIN_LIFETIME = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Assertion:
    """A token that was made, and what it was made for: of a changed one another is made."""

    until: float
    token: ServiceToken
    application: Application
    text: bytes = field(repr=False)


class Issuer:
    """The keys of one state of Access. Made anew when they change."""

    def __init__(self, state: AccessState, now: float) -> None:
        """`now` is seconds since the epoch.

        Raises:
            ValueError: there is no key to sign with, or one is none.
        """
        organization = state.organization
        living = {
            entry.id: (entry, load_key(entry.private_pem))
            for entry in state.keys.values()
            if entry.expires is None or now < entry.expires
        }
        signing = [key for entry, key in living.values() if entry.state == "current"]
        if organization is None or len(signing) != 1:
            raise ValueError("there is no key to sign with")
        self._state = state
        self.issuer = organization.issuer
        self.until = min((entry.expires for entry, _ in living.values() if entry.expires is not None), default=math.inf)
        "When one of its keys ends, so that another has to be made."
        self._key: SigningKey = signing[0]
        self.secrets = [key.private for _, key in sorted(living.values(), key=lambda pair: pair[0].state != "current")]
        "The private keys, that which signs first: for what the edges of a mesh seal for each other."
        document = {"keys": [public_jwk(key) for _, key in living.values()]}
        self._published: AccessKeys = parse_keys(json.dumps(document).encode())
        certificates = [{"kid": entry.id, "cert": entry.certificate_pem} for entry, _ in living.values()]
        current = next(entry for entry in certificates if entry["kid"] == self._key.id)
        self.document = json.dumps(document | {"public_cert": current, "public_certs": certificates}).encode()
        "What `/cdn-cgi/access/certs` answers."
        self._assertions: OrderedDict[tuple[str, str], _Assertion] = OrderedDict()
        self._widened: OrderedDict[bytes, bytes] = OrderedDict()
        self._metadata: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._verified: OrderedDict[bytes, dict[str, Any]] = OrderedDict()

    def identify(self, credential: Pair | Token, now: float) -> Identified:
        """Return who shows a credential at `now`, seconds since the epoch.

        Raises:
            NotIdentified: nobody that is known and alive.
        """
        return identify(credential, self._state, self, now)

    def sign(self, claims: dict[str, Any]) -> bytes:
        """Return a token with `claims`."""
        return sign(self._key, claims)

    def claims(self, token: ServiceToken, application: Application, seconds: float, now: float) -> dict[str, Any]:
        """Return what a token says that is issued now. It is not dated before what revoked its elders."""
        begin = max(now, math.ceil(token.valid_after), math.ceil(application.valid_after))
        return service_claims(
            token, issuer=self.issuer, audience=application.audience, now=begin, seconds=max(seconds, MIN_LIFETIME)
        )

    def assertion(self, token: ServiceToken, application: Application, seconds: float, now: float) -> bytes:
        """Return the token that tells a service who asks: made once, and used until shortly before its end."""
        known = self._assertions.get((token.id, application.id))
        if known is not None and now < known.until and known.token is token and known.application is application:
            return known.text
        claims = self.claims(token, application, seconds, now)
        made = self.sign(claims)
        self._assertions[token.id, application.id] = _Assertion(
            until=claims["exp"] - RENEW_BEFORE, token=token, application=application, text=made
        )
        if len(self._assertions) > MAX_REMEMBERED:
            self._assertions.popitem(last=False)
        return made

    def widened(self, found: IdentifiedPerson) -> bytes:
        """Return the token that tells a service who shows a narrowed one, which services do not know: no longer lived,
        and good in no browser. Made once."""
        known = self._widened.get(found.text)
        if known is None:
            claims = application_claims(
                found.person, issuer=self.issuer, audience=found.application.audience,
                now=float(found.claims["parent_iat"]), seconds=found.expires - found.claims["parent_iat"], binding="",
            )  # fmt: skip
            known = self._widened[found.text] = self.sign(claims)
            if len(self._widened) > MAX_REMEMBERED:
                self._widened.popitem(last=False)
        return known

    def metadata(self, application_id: str, host: str, claims: dict[str, Any]) -> bytes:
        """Return the signed answer to a metadata request; made once, since anybody may ask for it."""
        known = self._metadata.get((application_id, host))
        if known is None:
            known = self._metadata[application_id, host] = self.sign(claims)
            if len(self._metadata) > MAX_REMEMBERED:
                self._metadata.popitem(last=False)
        return known

    def is_ours(self, token: bytes) -> bool:
        """Return whether a token names one of our keys; whether it is right is another question."""
        if token in self._verified:
            return True
        head, dot, _ = token.partition(b".")
        try:
            header = json.loads(base64.urlsafe_b64decode(head + b"=" * (-len(head) % 4))) if dot else None
        except (ValueError, RecursionError):
            return False
        return (
            isinstance(header, dict) and isinstance(header.get("kid"), str) and header["kid"] in self._published.by_id
        )

    def verified(self, token: bytes) -> dict[str, Any]:
        """Return the claims of a token that this mesh issued; dates and revocation are the caller's to judge.

        Raises:
            AccessDenied: it is none.
        """
        known = self._verified.get(token)
        if known is not None:
            return known
        claims = signed_claims(token, self._published)
        if claims.get("iss") != self.issuer:
            raise AccessDenied("the token was issued by another organization")
        self._verified[token] = claims
        if len(self._verified) > MAX_REMEMBERED:
            self._verified.popitem(last=False)
        return claims
