"""Writes Cap'n Proto messages of one segment, for the RPC conversations (which are no hot path; `connect_codec` is).

A `StructWriter` is a window into the growing segment; a pointer is set once, and what it points to is put at the end.
Empty texts and data are null pointers, as the reference writes them (wire.md 3).
"""

from __future__ import annotations

from struct import pack, pack_into
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_LIST, _CAPABILITY = 1, 3
_BYTES, _POINTERS, _COMPOSITE = 2, 6, 7


class StructWriter:
    """One struct of a message that is being written. Layouts are given as data words and pointers."""

    __slots__ = ("_data_bytes", "_position", "_segment")

    def __init__(self, segment: bytearray, position: int, data_words: int) -> None:
        self._segment = segment
        self._position = position
        self._data_bytes = data_words * 8

    def set_uint(self, offset: int, size: int, value: int) -> None:
        """Write an unsigned integer of `size` bytes at byte `offset` of the data section."""
        at = self._position + offset
        self._segment[at : at + size] = value.to_bytes(size, "little")

    def set_sint(self, offset: int, size: int, value: int) -> None:
        """Write a signed integer of `size` bytes at byte `offset` of the data section."""
        at = self._position + offset
        self._segment[at : at + size] = value.to_bytes(size, "little", signed=True)

    def set_flag(self, bit: int, value: bool) -> None:
        """Write a Bool at `bit` of the data section, which is still 0."""
        self._segment[self._position + bit // 8] |= value << bit % 8

    def _point(self, index: int, kind: int, high: int, size: int) -> int:
        """Make pointer `index` lead to `size` fresh bytes at the end; return where they begin."""
        at = self._position + self._data_bytes + index * 8
        begin = len(self._segment)
        self._segment.extend(bytes(-(-size // 8) * 8))
        # A struct of no size points just before itself, for offset 0 would make its pointer null.
        offset = (begin - at - 8) // 8 if size or kind else -1
        pack_into("<iI", self._segment, at, offset << 2 | kind, high)
        return begin

    def struct(self, index: int, data_words: int, pointers: int) -> StructWriter:
        """Put a fresh struct at pointer `index`."""
        begin = self._point(index, 0, pointers << 16 | data_words, (data_words + pointers) * 8)
        return StructWriter(self._segment, begin, data_words)

    def structs(self, index: int, count: int, data_words: int, pointers: int) -> list[StructWriter]:
        """Put a fresh list of `count` structs at pointer `index`."""
        step = (data_words + pointers) * 8
        begin = self._point(index, _LIST, (count * step // 8) << 3 | _COMPOSITE, 8 + count * step)
        pack_into("<II", self._segment, begin, count << 2, pointers << 16 | data_words)
        return [StructWriter(self._segment, begin + 8 + i * step, data_words) for i in range(count)]

    def set_data(self, index: int, value: bytes) -> None:
        """Put `value` at pointer `index`."""
        if value:
            begin = self._point(index, _LIST, len(value) << 3 | _BYTES, len(value))
            self._segment[begin : begin + len(value)] = value

    def set_text(self, index: int, value: str) -> None:
        """Put `value` and its terminator at pointer `index`."""
        if value:
            self.set_data(index, value.encode("utf-8", "surrogateescape") + b"\0")

    def set_texts(self, index: int, values: Sequence[str]) -> None:
        """Put a List(Text) at pointer `index`."""
        begin = self._point(index, _LIST, len(values) << 3 | _POINTERS, len(values) * 8)
        pointers = StructWriter(self._segment, begin, 0)
        for i, value in enumerate(values):
            pointers.set_text(i, value)

    def set_capability(self, index: int, entry: int) -> None:
        """Make pointer `index` name `entry` of the capability table."""
        pack_into("<II", self._segment, self._position + self._data_bytes + index * 8, _CAPABILITY, entry)

    def embed(self, index: int, segment: bytes) -> None:
        """Make pointer `index` lead to the root of the one-segment message body `segment`, copied as it is."""
        low, high = int.from_bytes(segment[:4], "little", signed=True), segment[4:8]
        at = self._position + self._data_bytes + index * 8
        moved = low + ((len(self._segment) - at) // 8 << 2)
        self._segment[at : at + 8] = moved.to_bytes(4, "little", signed=True) + high
        self._segment += segment


def new_root(data_words: int, pointers: int) -> tuple[bytearray, StructWriter]:
    """Begin a message; return its segment, for `framed`, and its root."""
    segment = bytearray(8)
    root = StructWriter(segment, 0, 0).struct(0, data_words, pointers)
    return segment, root


def framed(segment: bytearray) -> bytes:
    """Return the whole message: segment table and segment."""
    return pack("<II", 0, len(segment) // 8) + segment
