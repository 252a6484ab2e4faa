"""Who shows a credential: a service token by its secret, or by a token that this mesh issued for it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from pyconnector.edge.access.credentials import Pair, Token
from pyconnector.edge.access.not_identified import NotIdentified
from pyconnector.identity.access_token.scope import is_within
from pyconnector.identity.access_token.signing import APPLICATION, NARROWED
from pyconnector.identity.access_token.token import CLOCK_SKEW, AccessDenied
from pyconnector.identity.policies.policy import Reason
from pyconnector.identity.policies.rules import Address, Caller
from pyconnector.identity.service_tokens import ServiceToken, fits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyconnector.edge.access.entries import GrantEntry
    from pyconnector.edge.access.issuer import Issuer
    from pyconnector.edge.access.state import AccessState
    from pyconnector.identity.applications.application import Application


# Not frozen, though nobody changes it: made for every request, and a frozen one costs three times as much to make.
@dataclass(slots=True, kw_only=True)
class Identified:
    """A service token that is alive, and how it was shown."""

    token: ServiceToken
    application: Application | None = None
    "The one that the token shown was issued for; None for a secret, which is good for all."
    claims: Mapping[str, Any] | None = None
    expires: float = math.inf
    "Seconds since the epoch at which what was shown ends, where it is narrowed."
    grant: GrantEntry | None = None
    "What lets it pass where policies say nothing of it."
    person: ClassVar[None] = None

    @property
    def is_narrowed(self) -> bool:
        """Whether what was shown is for some paths or methods alone."""
        return self.claims is not None and self.claims["type"] == NARROWED

    def renewed(self, token: ServiceToken, application: Application | None) -> Identified:
        """Return the same with token and application as they are now."""
        return replace(self, token=token, application=application)

    def caller(self, address: Address | None) -> Caller:
        """Return who that is to policies."""
        return Caller(address=address, token=self.token)

    def covers(self, method: str, raw_path: str) -> bool:
        """Return whether what was shown is for this."""
        return not self.is_narrowed or is_within(self.claims or {}, method, raw_path)


def identify(credential: Pair | Token, state: AccessState, issuer: Issuer | None, now: float) -> Identified:
    """Return who shows `credential` at `now`, seconds since the epoch. `issuer` verifies tokens; a secret needs none.

    Raises:
        NotIdentified: nobody that is known and alive.
    """
    if isinstance(credential, Pair):
        token = state.tokens.get(credential.client_id)
        if not fits(token, credential.secret, now) or token is None:
            raise NotIdentified(Reason.BAD_CREDENTIALS)
        return Identified(token=token, expires=math.inf if token.expires is None else token.expires)
    if issuer is None:
        raise NotIdentified(Reason.NO_KEY, guessing=False)
    try:
        claims = issuer.verified(credential.text)
    except AccessDenied:
        raise NotIdentified(Reason.BAD_TOKEN) from None
    return _judged(claims, state, now)


def _judged(claims: dict[str, Any], state: AccessState, now: float) -> Identified:
    # Signed by us, so what is in it is what we wrote, at some time, for somebody, of some type.
    kind, audience, expires, issued = claims.get("type"), claims.get("aud"), claims.get("exp"), claims.get("iat")
    if kind not in (APPLICATION, NARROWED) or not isinstance(audience, list) or len(audience) != 1:
        raise NotIdentified(Reason.BAD_TOKEN, guessing=False)
    if (
        not isinstance(expires, int)
        or not isinstance(issued, int)
        or now >= expires + (CLOCK_SKEW if kind == APPLICATION else 0)
    ):
        raise NotIdentified(Reason.BAD_TOKEN, guessing=False)
    client_id, application = claims.get("common_name"), state.applications.of_audience(str(audience[0]))
    token = state.tokens.get(client_id) if isinstance(client_id, str) else None
    begun = claims.get("parent_iat", issued)
    if application is None or token is None or not token.lives(now) or not isinstance(begun, int):
        raise NotIdentified(Reason.REVOKED, guessing=False)
    if begun < token.valid_after or begun < application.valid_after:
        raise NotIdentified(Reason.REVOKED, guessing=False)
    grant = None
    if kind == NARROWED and "grant" in claims:
        grant = state.grants.get(str(claims.get("jti")))
        if grant is None or not grant_holds(grant, token, application, now):
            raise NotIdentified(Reason.REVOKED, guessing=False)
    end = math.inf if token.expires is None else token.expires
    return Identified(
        token=token, application=application, claims=claims, expires=min(end, expires) if kind == NARROWED else end,
        grant=grant,
    )  # fmt: skip


def grant_holds(grant: GrantEntry, token: ServiceToken, application: Application, now: float) -> bool:
    """Return whether a grant is that token's, for that application, and has not come to its end."""
    return grant.token_id == token.id and grant.application_id == application.id and now < grant.expires
