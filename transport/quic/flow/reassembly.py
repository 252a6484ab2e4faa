"""Stream data that arrived ahead of a gap. Pure.

What arrived first counts where pieces overlap, so every byte is kept once. The caller bounds how many pieces it keeps:
each piece costs more than its bytes, and a hostile peer would send single ones.
"""

from __future__ import annotations

from bisect import bisect_right

#: Pieces that one connection keeps for all of its streams; a full window of full packets behind one gap needs 26,000.
HELD_PIECES = 65536


class Reassembly:
    """Pieces of one stream that do not touch what was delivered yet."""

    __slots__ = ("_pieces", "_starts")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._pieces: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._starts)

    def __repr__(self) -> str:
        return f"<Reassembly pieces={len(self._starts)}>"

    def insert(self, start: int, data: bytes) -> None:
        """Keep `data`, less what is already here."""
        starts, pieces = self._starts, self._pieces
        end = start + len(data)
        at = bisect_right(starts, start)
        if at:
            known = starts[at - 1] + len(pieces[starts[at - 1]])
            if known > start:
                data = data[known - start :]
                start = known
        while at < len(starts) and starts[at] < end:
            following = starts[at]
            if following + len(pieces[following]) > end:
                data = data[: following - start]
                break
            del pieces[following]
            del starts[at]
        if data and start < end:
            starts.insert(at, start)
            pieces[start] = data

    def take(self, offset: int) -> bytes:
        """Remove and return what continues without a gap at `offset`; drop what lies before it."""
        starts, pieces = self._starts, self._pieces
        taken: list[bytes] = []
        count = 0
        for start in starts:
            if start > offset:
                break
            data = pieces.pop(start)
            count += 1
            if start + len(data) > offset:
                taken.append(data[offset - start :])
                offset = start + len(data)
        del starts[:count]
        return taken[0] if len(taken) == 1 else b"".join(taken)
