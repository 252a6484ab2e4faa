"""One-time PINs: made, remembered as a digest in the browser's sealed cookie, and guessed a few times at most. Pure.

A PIN belongs to one attempt to log in, in one browser: beside it the cookie of that attempt has to be shown.
"""

from __future__ import annotations

import hmac
from hashlib import sha256

from pyconnector.edge.access.failures import source_of
from pyconnector.edge.access.login.counts import Counts

#: Digits of a PIN, seconds for which it counts, and guesses at it (at each edge).
DIGITS, SECONDS, MAX_GUESSES = 6, 600, 5
#: PINs for one address, and for one source, within `SECONDS`.
MAX_FOR_ADDRESS, MAX_FOR_SOURCE = 5, 30


class Pins:
    """The limits of one edge. `now` is seconds of any clock."""

    def __init__(self) -> None:
        self._addresses = Counts(MAX_FOR_ADDRESS, SECONDS)
        self._sources = Counts(MAX_FOR_SOURCE, SECONDS)
        self._guesses = Counts(MAX_GUESSES, SECONDS)
        self._used = Counts(1, SECONDS)

    def may_send(self, email: str, source: str, now: float) -> bool:
        """Count a PIN that is asked for; return whether it may be sent."""
        return self._sources.take(source_of(source), now) and self._addresses.take(email, now)

    def may_guess(self, attempt: str, now: float) -> bool:
        """Count a guess at the PIN of an attempt; return whether it counts."""
        return self._guesses.take(attempt, now)

    def use(self, attempt: str, now: float) -> bool:
        """Use the PIN of an attempt up; return whether that was the first time."""
        return self._used.take(attempt, now)


def make_pin(entropy: bytes) -> str:
    """Return a PIN of 16 random bytes: so many more than it needs that every PIN is as likely."""
    if len(entropy) != 16:
        raise ValueError("a PIN is made of 16 random bytes")
    return f"{int.from_bytes(entropy, 'big') % 10**DIGITS:0{DIGITS}d}"


def pin_digest(attempt: str, pin: str) -> str:
    """Return what is remembered of a PIN."""
    return sha256(f"{attempt}:{pin}".encode()).hexdigest()


def is_pin(attempt: str, digest: str, shown: str) -> bool:
    """Return whether `shown` is the PIN of an attempt, in constant time. Blanks are how people group digits."""
    text = shown.replace(" ", "").replace("-", "")[:64]
    return hmac.compare_digest(digest, pin_digest(attempt, text))
