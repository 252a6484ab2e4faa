"""Which rules with an `identity` a request is for: the gates of those rules verify who asks, and nothing else does."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyconnector.connector.requests.guards import Guarded
    from pyconnector.identity.access_token import Identity
    from pyconnector.ingress import Match, Rule
    from pyconnector.ingress.config.settings import AccessSettings
    from pyconnector.ingress.rules.rules import Fits
    from pyconnector.origins.base import OriginRequest
    from pyconnector.origins.layers.base import Gate


async def fits_of(routes: Sequence[Guarded], rules: Sequence[Rule], match: Match, request: OriginRequest) -> Fits:
    """Verify who asks in each of the ways that `match` names; return for which rules with an `identity` that is.

    Cancel at any time.

    Raises:
        Rejection: the answer that refuses the request, where nobody could say who asks.
    """
    found: dict[AccessSettings | None, Identity] = {}
    for index in match.asks:
        identity = await _identity(routes[index].access, request)
        if identity is not None:
            found[rules[index].settings.access] = identity

    def fits(rule: Rule) -> bool:
        identity = found.get(rule.settings.access)
        return identity is not None and identity.is_any_of(rule.identity)

    return fits


async def _identity(gates: Sequence[Gate], request: OriginRequest) -> Identity | None:
    for gate in gates:
        identity = await gate.identify(request)
        if identity is not None:
            return identity
    return None
