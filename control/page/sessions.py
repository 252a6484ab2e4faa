"""Who is signed in at the page: a random cookie for a token that was shown. Pure: `now` is seconds of any clock."""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field

#: Sessions at once; the oldest gives way.
MAX_SESSIONS = 1000
#: Seconds that one lasts.
LIFETIME = 12 * 3600.0
COOKIE = "pyconnector_session"
_BYTES = 32


@dataclass(frozen=True, slots=True)
class Session:
    """One browser that is signed in."""

    digest: str = field(repr=False)
    "Of the API token, as the database keeps it: a token that is deleted ends its sessions."
    form_key: str = field(repr=False)
    "What each form of the page holds, and a page of others does not know."
    ends: float

    def is_own_form(self, key: str) -> bool:
        """Return whether a form is one of this session, in a time that does not depend on it."""
        return hmac.compare_digest(self.form_key.encode(), key.encode("utf-8", "replace"))


class Sessions:
    """All sessions of one control plane."""

    def __init__(self) -> None:
        self._by_cookie: OrderedDict[str, Session] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_cookie)

    def begin(self, digest: str, now: float) -> str:
        """Begin one for a token, and return its cookie."""
        cookie = secrets.token_urlsafe(_BYTES)
        self._by_cookie[cookie] = Session(digest, secrets.token_urlsafe(_BYTES), now + LIFETIME)
        if len(self._by_cookie) > MAX_SESSIONS:
            self._by_cookie.popitem(last=False)
        return cookie

    def find(self, cookie: str, now: float) -> Session | None:
        """Return the session of a cookie, unless it is over."""
        session = self._by_cookie.get(cookie)
        if session is not None and session.ends <= now:
            del self._by_cookie[cookie]
            return None
        return session

    def end(self, cookie: str) -> None:
        """Forget one. Idempotent."""
        self._by_cookie.pop(cookie, None)
