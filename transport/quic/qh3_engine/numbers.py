"""Which of a peer's stream numbers are new: qh3's core forgets that it finished a stream after a thousand others.

A retransmission to a stream that both sides ended long ago then looks like a new stream, and the request in it would be
served a second time. Streams are opened in order (RFC 9000 2.1), so it takes one number and the few that loss skipped.
"""

from __future__ import annotations

#: Numbers that may be missing at once: lost packets leave gaps, but not such.
SKIPPED_STREAMS = 16384


#: How many streams that are over the core knows, at most; half as many are remembered here for certain.
TOMBSTONES = 1024


class SkippedTooMany(Exception):
    """The peer left out more numbers than loss explains."""


class StreamNumbers:
    """The numbers of the bidirectional streams that one side opens; `parity` is 0 for a client's, 1 for a server's."""

    def __init__(self, parity: int) -> None:
        self._parity = parity
        self._following = parity
        self._skipped: set[int] = set()

    def was_seen(self, stream_id: int) -> bool:
        """Whether `is_new` was asked about this stream, or it is one of the other side's."""
        if stream_id & 3 != self._parity:
            return True
        return stream_id < self._following and stream_id not in self._skipped

    def is_new(self, stream_id: int) -> bool:
        """Whether this stream was never seen before; from now on it was.

        Raises:
            SkippedTooMany: the gap before it is too large.
        """
        if stream_id == self._following:
            self._following = stream_id + 4
            return True
        if stream_id & 3 != self._parity:
            return False
        if stream_id < self._following:
            if stream_id not in self._skipped:
                return False
            self._skipped.remove(stream_id)
            return True
        if (stream_id - self._following) // 4 + len(self._skipped) > SKIPPED_STREAMS:
            raise SkippedTooMany
        self._skipped.update(range(self._following, stream_id, 4))
        self._following = stream_id + 4
        return True


class RecentlyOver:
    """Streams that ended a short while ago: the core still knows that they did, and takes no more frames for them."""

    def __init__(self) -> None:
        self._newer: set[int] = set()
        self._older: set[int] = set()

    def __contains__(self, stream_id: int) -> bool:
        return stream_id in self._newer or stream_id in self._older

    def add(self, stream_id: int) -> None:
        """It ended just now."""
        self._newer.add(stream_id)
        if len(self._newer) >= TOMBSTONES // 2:
            self._older, self._newer = self._newer, set()
