"""Which rules need the access stage, and the key caches that they share. Loads the JOSE library only if one does."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pyconnector.connector.layers.access.key_cache import KeyCache
    from pyconnector.connector.layers.access.stage import AccessStage
    from pyconnector.ingress import Rule


class AccessStages:
    """Makes the stage of each rule that requires access; rules of one team share its keys, also across reloads."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,  # noqa: TID251 - tokens carry dates, not durations
        fetch: Callable[[str], Awaitable[bytes]] | None = None,
    ) -> None:
        self._clock = clock
        self._fetch = fetch
        self._caches: dict[str, KeyCache] = {}

    def __call__(self, rule: Rule) -> AccessStage | None:
        """Return the stage of `rule`, or None where it requires none.

        Raises:
            ValueError: its team name cannot be one.
        """
        access = rule.settings.access
        if access is None or not access.required:
            return None
        # Only here, because the JOSE library costs every connector without `access` a tenth of a second and 10 MB.
        from pyconnector.connector.layers.access.key_cache import KeyCache
        from pyconnector.connector.layers.access.key_fetch import fetch_https
        from pyconnector.connector.layers.access.stage import AccessStage
        from pyconnector.identity.access_token import AccessPolicy

        policy = AccessPolicy.of_team(access.team_name, environment=access.environment, audiences=access.aud_tag)
        cache = self._caches.get(policy.keys_url)
        if cache is None:
            fetch = self._fetch or fetch_https
            cache = self._caches[policy.keys_url] = KeyCache(policy.keys_url, clock=self._clock, fetch=fetch)
        return AccessStage(policy, cache, clock=self._clock)

    async def close(self) -> None:
        """Abandon fetches under way. Idempotent."""
        await asyncio.gather(*(cache.close() for cache in self._caches.values()))
