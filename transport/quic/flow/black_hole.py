"""Whether a path swallows large datagrams and carries small ones: a smaller MTU that nobody tells of (RFC 8899 4.3).

Pure: time is an argument. For an engine whose core finds the size once, fills its probes with data, and never returns
to smaller ones. Where nothing passes the peer is not heard either, so what tells is a peer that goes on being heard
while probe after probe is not answered.
"""

from __future__ import annotations

#: Probes in succession without an answer, after which the peer is listened to.
PROBES = 3
#: Probes that must have gone after it was heard, with nothing but silence about them, until it is heard again.
MORE_PROBES = 2


class BlackHole:
    """Compares probes that got no answer with whether the peer is heard."""

    __slots__ = ("_first_heard", "_first_total", "_since")

    def __init__(self) -> None:
        self._since: float | None = None  # when there were `PROBES`
        self._first_heard: float | None = None  # the first time after that
        self._first_total = 0  # probes until then

    def __repr__(self) -> str:
        return f"<BlackHole since={self._since} heard={self._first_heard}>"

    def is_likely(self, now: float, *, probes: int, total: int, heard: float) -> bool:
        """Whether large datagrams vanish.

        `probes` is how many went since the last answer, `total` since the connection began; `heard` is when anything at
        all came from the peer.
        """
        if probes < PROBES:
            self._since = self._first_heard = None
        elif self._since is None:
            self._since = now
        elif self._first_heard is None:
            if heard > self._since:
                self._first_heard, self._first_total = heard, total
        else:
            return heard > self._first_heard and total >= self._first_total + MORE_PROBES
        return False
