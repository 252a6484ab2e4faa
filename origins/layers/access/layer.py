"""Which rules need the access gate, and the key caches that they share. Loads the JOSE library only if one does."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pyconnector.ingress import Rule
    from pyconnector.origins.base import Origin
    from pyconnector.origins.layers.access.key_cache import KeyCache


class AccessLayer:
    """Puts a gate before each rule that requires access; rules of one team share its keys, also across reloads."""

    def __init__(
        self,
        fetch: Callable[[str], Awaitable[bytes]],
        *,
        clock: Callable[[], float] = time.time,  # noqa: TID251 - tokens carry dates, not durations
    ) -> None:
        """`fetch` returns the document at a URL, or raises OSError."""
        self._clock = clock
        self._fetch = fetch
        self._caches: dict[str, KeyCache] = {}

    def __call__(self, origin: Origin, rule: Rule) -> Origin:
        """Return `origin` behind the gate of `rule`, or as it is where `rule` requires none.

        Raises:
            ValueError: its team name cannot be one.
        """
        access = rule.settings.access
        if access is None or not access.required:
            return origin
        # Only here, because the JOSE library costs every connector without `access` a tenth of a second and 10 MB.
        from pyconnector.identity.access_token import AccessPolicy
        from pyconnector.origins.layers.access.gate import AccessGate
        from pyconnector.origins.layers.access.key_cache import KeyCache

        if access.issuer:
            policy = AccessPolicy(issuer=access.issuer, keys_url=access.keys_url, audiences=frozenset(access.aud_tag))
        else:
            policy = AccessPolicy.of_team(access.team_name, environment=access.environment, audiences=access.aud_tag)
        cache = self._caches.get(policy.keys_url)
        if cache is None:
            cache = self._caches[policy.keys_url] = KeyCache(policy.keys_url, clock=self._clock, fetch=self._fetch)
        return AccessGate(origin, rule, policy=policy, keys=cache, clock=self._clock)

    async def close(self) -> None:
        """Abandon fetches under way. Idempotent."""
        await asyncio.gather(*(cache.close() for cache in self._caches.values()))
