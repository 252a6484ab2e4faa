"""What happened to people at this edge and the control plane has to hear: logins, and sessions that ended."""

from __future__ import annotations

from collections.abc import Callable

#: Of each kind, until they are reported; what goes beyond is dropped, and counts at this edge nevertheless.
MAX_NEWS = 1000


class News:
    """Kept until a report takes it. `moment` is of any clock, `expires` in seconds since the epoch."""

    def __init__(self) -> None:
        self.on_news: Callable[[], None] = lambda: None
        self._logins: dict[str, tuple[str, float]] = {}
        self._ended: dict[str, float] = {}

    def login(self, email: str, name: str, moment: float) -> None:
        """Somebody logged in."""
        if email in self._logins or len(self._logins) < MAX_NEWS:
            self._logins[email] = (name, moment)
            self.on_news()

    def ended(self, nonce: str, expires: float) -> None:
        """A session is over before its time."""
        if len(self._ended) < MAX_NEWS:
            self._ended[nonce] = expires
            self.on_news()

    def take(self) -> tuple[dict[str, tuple[str, float]], dict[str, float]]:
        """Return what there is, and keep it no longer."""
        taken = self._logins, self._ended
        self._logins, self._ended = {}, {}
        return taken

    def give_back(self, logins: dict[str, tuple[str, float]], ended: dict[str, float]) -> None:
        """Keep again what could not be reported."""
        self._logins = dict([*logins.items(), *self._logins.items()][:MAX_NEWS])
        self._ended = dict([*ended.items(), *self._ended.items()][:MAX_NEWS])
