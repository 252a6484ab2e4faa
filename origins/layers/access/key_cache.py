"""The keys of each team, fetched when needed, kept, renewed, and never asked for more often than is polite.

Cold and unreachable: refuse. Warm and unreachable: serve with what was there, for a bounded time. Nobody waits for an
endpoint that is known to fail while there are keys: it is asked behind.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from pyconnector.identity.access_token import AccessDenied, AccessKeys, UnusableKeys, parse_keys

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

#: Seconds that one fetch may take.
FETCH_TIMEOUT = 5.0
#: Seconds after which keys are fetched anew although they still work.
KEYS_FRESH = 3600.0
#: Seconds after which they are fetched ahead, so that nobody has to wait for it.
KEYS_AHEAD = 3000.0
#: Seconds for which keys still serve when their endpoint does not answer.
KEYS_STALE = 24 * 3600.0
#: Seconds between two fetches of one document, whatever visitors send.
FETCH_INTERVAL = 10.0

_log = logging.getLogger("pyconnector.access")


class NoKeys(AccessDenied):
    """Nobody's token can be verified now. Caught where only some of the rules are for somebody: it is refused then."""


class KeyCache:
    """The keys behind one URL. One fetch at a time serves all who wait."""

    def __init__(self, url: str, *, clock: Callable[[], float], fetch: Callable[[str], Awaitable[bytes]]) -> None:
        self.url = url
        self._clock = clock
        self._fetch = fetch
        self._keys: AccessKeys | None = None
        self._fetched_at = 0.0
        self._asked_at: float | None = None
        self._failing = False
        self._pending: asyncio.Task[None] | None = None

    def current(self) -> AccessKeys | None:
        """The keys if they are there and fresh, else None: then `await keys()`. Called from the event loop."""
        age = self._clock() - self._fetched_at
        if self._keys is None or not _is_within(age, KEYS_FRESH):
            return None
        if age >= KEYS_AHEAD:
            self._ask()
        return self._keys

    async def keys(self, *, renew: bool = False) -> AccessKeys:
        """Return keys, fetching where they are missing, old, or (with `renew`) suspected to have been rotated.

        Cancel at any time: the fetch goes on for the others.

        Raises:
            NoKeys: there are none, and none can be had.
        """
        if renew or self.current() is None:
            pending = self._ask()
            known = self._keys is not None and _is_within(self._clock() - self._fetched_at, KEYS_STALE)
            if pending is not None and (renew or not self._failing or not known):
                await asyncio.shield(pending)
        if self._keys is None or self._clock() - self._fetched_at > KEYS_STALE:
            raise NoKeys("the team's keys cannot be fetched")
        return self._keys

    def _ask(self) -> asyncio.Task[None] | None:
        """Return the fetch under way, or one that begins now; None where the last one was a moment ago."""
        if self._pending is None:
            if self._asked_at is not None and _is_within(self._clock() - self._asked_at, FETCH_INTERVAL):
                return None
            self._asked_at = self._clock()
            loop = asyncio.get_running_loop()
            self._pending = loop.create_task(self._fetch_once(), name=f"access keys {self.url}")
        return self._pending

    async def _fetch_once(self) -> None:
        failing = True
        try:
            document = await asyncio.wait_for(self._fetch(self.url), FETCH_TIMEOUT * 2)
            self._keys = parse_keys(document)
            self._fetched_at = self._clock()
            failing = False
        except TimeoutError:
            _log.warning("Access keys could not be fetched from %s: it takes too long", self.url)
        except (OSError, UnusableKeys) as error:
            _log.warning("Access keys could not be fetched from %s: %s", self.url, error)
        except Exception as error:  # noqa: BLE001 - an embedding program's fetch may raise anything; the keys at hand decide
            _log.warning("Access keys could not be fetched from %s: %s", self.url, type(error).__name__)
        finally:
            self._failing = failing
            self._pending = None

    async def close(self) -> None:
        """Abandon a fetch under way. Idempotent."""
        if self._pending is not None:
            self._pending.cancel()
            await asyncio.gather(self._pending, return_exceptions=True)


def _is_within(elapsed: float, limit: float) -> bool:
    """Whether `elapsed` seconds are fewer than `limit`; not where the wall clock was set back meanwhile."""
    return 0 <= elapsed < limit
