"""The keys of each team, fetched when needed, kept, renewed, and never asked for more often than is polite.

Cold and unreachable: refuse. Warm and unreachable: serve with what was there, for a bounded time.
"""

from __future__ import annotations

import asyncio
import http.client
import logging
import urllib.request
from typing import TYPE_CHECKING

from ingress.access import AccessDenied, AccessKeys, KeyFault, parse_keys
from ingress.access.keys import MAX_KEYS_BYTES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

#: Seconds after which keys are fetched anew although they still work.
KEYS_FRESH = 3600.0
#: Seconds for which keys still serve when their endpoint does not answer.
KEYS_STALE = 24 * 3600.0
#: Seconds between two fetches of one document, whatever visitors send.
FETCH_INTERVAL = 10.0
#: Seconds that one fetch may take.
FETCH_TIMEOUT = 5.0

_log = logging.getLogger("pyconnector.access")


async def fetch_https(url: str) -> bytes:
    """Return at most `MAX_KEYS_BYTES` + 1 bytes of the document at `url`, following no redirect.

    Cancel: the request goes on in its thread until it answers or times out, and its outcome is dropped.

    Raises:
        OSError: unreachable, refused, not 200, or its certificate is not trusted.
    """
    return await asyncio.to_thread(_fetch, url)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def _fetch(url: str) -> bytes:
    opener = urllib.request.build_opener(_NoRedirect)
    with opener.open(url, timeout=FETCH_TIMEOUT) as response:
        if response.status != 200:
            raise OSError(f"the key endpoint answered {response.status}")
        return bytes(response.read(MAX_KEYS_BYTES + 1))


class KeyCache:
    """The keys behind one URL. One fetch at a time serves all who wait."""

    def __init__(
        self, url: str, *, clock: Callable[[], float], fetch: Callable[[str], Awaitable[bytes]] = fetch_https
    ) -> None:
        self.url = url
        self._clock = clock
        self._fetch = fetch
        self._keys: AccessKeys | None = None
        self._fetched_at = 0.0
        self._asked_at: float | None = None
        self._pending: asyncio.Task[None] | None = None

    def current(self) -> AccessKeys | None:
        """The keys if they are there and fresh, else None: then `await keys()`."""
        if self._keys is not None and self._clock() - self._fetched_at < KEYS_FRESH:
            return self._keys
        return None

    async def keys(self, *, renew: bool = False) -> AccessKeys:
        """Return keys, fetching where they are missing, old, or (with `renew`) suspected to have been rotated.

        Cancel at any time: the fetch goes on for the others.

        Raises:
            AccessDenied: there are none, and none can be had.
        """
        if renew or self.current() is None:
            await self._refresh()
        if self._keys is None or self._clock() - self._fetched_at > KEYS_STALE:
            raise AccessDenied("the team's keys cannot be fetched")
        return self._keys

    async def _refresh(self) -> None:
        if self._pending is None:
            if self._asked_at is not None and self._clock() - self._asked_at < FETCH_INTERVAL:
                return
            self._asked_at = self._clock()
            loop = asyncio.get_running_loop()
            self._pending = loop.create_task(self._fetch_once(), name=f"access keys {self.url}")
        await asyncio.shield(self._pending)

    async def _fetch_once(self) -> None:
        try:
            document = await asyncio.wait_for(self._fetch(self.url), FETCH_TIMEOUT * 2)
            self._keys = parse_keys(document)
            self._fetched_at = self._clock()
        except (OSError, http.client.HTTPException, ValueError, KeyFault) as error:
            _log.warning("Access keys could not be fetched from %s: %s", self.url, error)
        finally:
            self._pending = None

    async def close(self) -> None:
        """Abandon a fetch under way. Idempotent."""
        if self._pending is not None:
            self._pending.cancel()
            await asyncio.gather(self._pending, return_exceptions=True)
