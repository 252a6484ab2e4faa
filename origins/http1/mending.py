"""Heads that are written carelessly and can still be read in one way only: a second look at what llhttp refused.

Lines may end in LF alone (RFC 9112 2.2), and a Content-Length may be given twice with one value (RFC 9110 8.6).
"""

from __future__ import annotations


class HeadMender:
    """Takes the bytes of a response from its first on, returns them without repetitions of a Content-Length.

    Whole lines are returned as soon as they are there; after the head of a final response, everything.
    """

    __slots__ = ("_at_start", "_interim", "_length", "_line", "_over")

    def __init__(self) -> None:
        self._line = b""
        self._over = False
        self._at_start = True
        self._interim = False
        self._length: bytes | None = None

    def feed(self, data: bytes) -> bytes:
        """Return what of `data`, and of what was held back before, may be parsed."""
        mended: list[bytes] = []
        at = 0
        while not self._over:
            end = data.find(b"\n", at) + 1
            if not end:
                self._line += data[at:]
                return b"".join(mended)
            line, self._line = self._line + data[at:end], b""
            at = end
            if not self._repeats(line):
                mended.append(line)
        mended.append(data[at:])
        return b"".join(mended)

    def _repeats(self, line: bytes) -> bool:
        """Note a line of the head; True for one that says again what was said."""
        if self._at_start:
            self._at_start = False
            self._interim = line[9:10] == b"1" and line[9:12] != b"101"
            self._length = None
        elif not line.rstrip(b"\r\n"):
            self._over = not self._interim
            self._at_start = self._interim
        else:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                value = value.strip(b" \t\r\n")
                if value == self._length:
                    return True
                self._length = value
        return False
