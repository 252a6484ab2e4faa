"""`cert.pem` on its way from the page to the command that asked for it (api.md 5), under that command's public key."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
from collections import OrderedDict

#: Certificates that wait to be fetched; the oldest gives way. Seconds that one waits.
MAX_OFFERED, LIFETIME = 100, 600.0
#: Requests that wait for a certificate at once, and how long one waits: the reference gives up after 60 s.
MAX_WAITING, PATIENCE = 100, 50.0
_KEY = re.compile(r"[A-Za-z0-9_-]{43}=?")


class TooManyWaiting(Exception):
    """`MAX_WAITING` requests wait already; answered 429."""


def key_of(callback: str) -> str | None:
    """Return the key at the end of the address that a command gave the browser; None where there is none."""
    key = callback.rpartition("/")[2]
    return key.rstrip("=") if is_key(key) else None


def is_key(text: str) -> bool:
    """Return whether a text is a public key: 32 bytes, base64url."""
    return _KEY.fullmatch(text) is not None


def code_of(key: str) -> str:
    """Return what page and command both show, so that a person sees that the one is about the other."""
    digest = hashlib.sha256(key.rstrip("=").encode("ascii")).hexdigest()[:8].upper()
    return f"{digest[:4]}-{digest[4:]}"


class Transfers:
    """What was handed out and not fetched yet. A key is fetched with once: it is all that proves who fetches."""

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._offered: OrderedDict[str, tuple[float, str]] = OrderedDict()
        self._waiting: set[tuple[str, asyncio.Event]] = set()
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<Transfers offered={len(self._offered)} waiting={len(self._waiting)}>"

    def offer(self, key: str, pem: str, now: float) -> None:
        """Let whoever knows `key` fetch `pem` once, for `LIFETIME` from `now`."""
        key = key.rstrip("=")
        self._offered[key] = (now + LIFETIME, pem)
        self._offered.move_to_end(key)
        if len(self._offered) > MAX_OFFERED:
            self._offered.popitem(last=False)
        for waited, event in self._waiting:
            if waited == key:
                event.set()

    def take(self, key: str, now: float) -> str | None:
        """Return what was offered under a key, and forget it."""
        ends, pem = self._offered.pop(key.rstrip("="), (now, ""))
        return pem if ends > now else None

    async def wait(self, key: str) -> None:
        """Wait until something may be offered under a key, for a while. Cancel leaves nothing behind.

        Raises:
            TooManyWaiting: there is no room for one more.
        """
        if self._is_closed:
            return
        if len(self._waiting) >= MAX_WAITING:
            raise TooManyWaiting
        entry = (key.rstrip("="), asyncio.Event())
        self._waiting.add(entry)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._patience):
                    await entry[1].wait()
        finally:
            self._waiting.discard(entry)

    def close(self) -> None:
        """Let nobody wait any longer. Idempotent."""
        self._is_closed = True
        for _, event in self._waiting:
            event.set()
