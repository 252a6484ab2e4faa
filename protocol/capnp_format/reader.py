"""Reads Cap'n Proto messages that a hostile peer may have written.

A `Message` borrows the bytes it is given and copies out only what is asked for. Every pointer is bounded by its
segment, far pointers are followed once, and each byte of a message may be read about twice: `budget` is the
traversal limit that makes aliased texts and lists of nothing harmless. Depth needs no limit, because nothing
here recurses: callers descend along a fixed schema.
Layout: https://capnproto.org/encoding.html. Used by `connect_codec` and the RPC conversations.
"""

from __future__ import annotations

from struct import Struct as Layout

from pyconnector.protocol.capnp_format.framing import Frame
from pyconnector.protocol.errors import ProtocolError

_WORD = Layout("<Q").unpack_from

_STRUCT, _LIST, _FAR, _CAPABILITY = 0, 1, 2, 3
_BYTES, _POINTERS, _COMPOSITE = 2, 6, 7


class Message:
    """One framed message inside `data`, from `start`; the frame must lie within `data`."""

    __slots__ = ("budget", "data", "segments")

    def __init__(self, data: bytes, frame: Frame, start: int = 0) -> None:
        self.data = data
        self.segments = [(start + first, start + last) for first, last in frame.segments]
        # Legal writers never point at the same bytes twice. Twice the size is still harmless, and what the fast
        # readers of `connect_codec` let pass: they don't compare the first text with those in the list.
        self.budget = 2 * frame.length + 64

    def root(self) -> Struct:
        """Return the root struct.

        Raises:
            ProtocolError: there is none.
        """
        first, last = self.segments[0]
        if last - first < 8:
            raise ProtocolError("a message has no root")
        return self.struct(0, first)

    def spend(self, size: int) -> None:
        """Charge `size` bytes to the traversal limit."""
        self.budget -= size
        if self.budget < 0:
            raise ProtocolError("a message reads more than it holds")

    def _word(self, segment: int, position: int) -> int:
        first, last = self.segments[segment]
        if position < first or position + 8 > last:
            raise ProtocolError("a pointer leaves its segment")
        word: int = _WORD(self.data, position)[0]
        return word

    def _far(self, word: int) -> tuple[int, int]:
        """Return the segment and position that a far pointer names."""
        segment = word >> 32
        if segment >= len(self.segments):
            raise ProtocolError("a far pointer names a segment that is not there")
        return segment, self.segments[segment][0] + ((word >> 3) & 0x1FFF_FFFF) * 8

    def resolve(self, segment: int, position: int) -> tuple[int, int, int] | None:
        """Follow the pointer at `position`: its word, and segment and position of its content; None if null."""
        word = self._word(segment, position)
        if word & 3 == _FAR:
            far = word
            segment, position = self._far(far)
            word = self._word(segment, position)
            if far & 4:
                # Double far: the pad holds where the content is, then what it is.
                if word & 7 != _FAR:
                    raise ProtocolError("a far pointer lands on no landing pad")
                tag = self._word(segment, position + 8)
                segment, position = self._far(word)
                if tag & 3 == _FAR:
                    raise ProtocolError("a far pointer leads to a far pointer")
                return tag, segment, position
            if word & 3 == _FAR:
                raise ProtocolError("a far pointer leads to a far pointer")
        if word == 0:
            return None
        offset = (word & 0xFFFF_FFFC) >> 2
        if offset & 0x2000_0000:
            offset -= 0x4000_0000
        return word, segment, position + 8 + offset * 8

    def _check(self, segment: int, position: int, size: int) -> None:
        first, last = self.segments[segment]
        if position < first or position + size > last:
            raise ProtocolError("a pointer leaves its segment")

    def struct(self, segment: int, position: int) -> Struct:
        """Return the struct behind the pointer at `position`; a null pointer gives a struct of defaults.

        Raises:
            ProtocolError: it points to something else or out of bounds.
        """
        found = self.resolve(segment, position)
        if found is None:
            return Struct(self, segment, 0, 0, 0)
        word, segment, position = found
        if word & 3 != _STRUCT:
            raise ProtocolError("a pointer leads to something other than a struct")
        data_words, pointers = (word >> 32) & 0xFFFF, word >> 48
        self._check(segment, position, (data_words + pointers) * 8)
        self.spend((data_words + pointers) * 8)
        return Struct(self, segment, position, data_words * 8, pointers)

    def bytes_at(self, segment: int, position: int) -> bytes:
        """Return the List(UInt8) behind the pointer at `position`; b"" for a null pointer.

        Raises:
            ProtocolError: it points to something else or out of bounds.
        """
        found = self.resolve(segment, position)
        if found is None:
            return b""
        word, segment, position = found
        if word & 3 != _LIST or (word >> 32) & 7 != _BYTES:
            raise ProtocolError("a pointer leads to something other than bytes")
        size = word >> 35
        self._check(segment, position, size)
        self.spend(size)
        return self.data[position : position + size]

    def text_at(self, segment: int, position: int) -> bytes:
        """Return the Text behind the pointer at `position`, without its terminator; b"" for a null pointer.

        Raises:
            ProtocolError: as `bytes_at`, or the terminator is missing.
        """
        text = self.bytes_at(segment, position)
        if text and text[-1]:
            raise ProtocolError("a text has no terminator")
        return text[:-1]

    def structs_at(self, segment: int, position: int) -> list[Struct]:
        """Return the List of structs behind the pointer at `position`; empty for a null pointer.

        Raises:
            ProtocolError: it points to something else or out of bounds, or has more elements than bytes for them.
        """
        found = self.resolve(segment, position)
        if found is None:
            return []
        word, segment, position = found
        if word & 3 != _LIST or (word >> 32) & 7 != _COMPOSITE:
            raise ProtocolError("a pointer leads to something other than a list of structs")
        words = word >> 35
        self._check(segment, position, words * 8 + 8)
        tag = self._word(segment, position)
        count, data_words, pointers = (tag & 0xFFFF_FFFF) >> 2, (tag >> 32) & 0xFFFF, tag >> 48
        step = (data_words + pointers) * 8
        if tag & 3 != _STRUCT or count * step > words * 8:
            raise ProtocolError("a list of structs is larger than its bytes")
        # An element of no size costs a word too: half a billion of them fit in 16 bytes.
        self.spend(count * max(step, 8))
        first = position + 8
        return [Struct(self, segment, first + i * step, data_words * 8, pointers) for i in range(count)]

    def texts_at(self, segment: int, position: int) -> list[bytes]:
        """Return the List(Text) behind the pointer at `position`; empty for a null pointer.

        Raises:
            ProtocolError: as `text_at`.
        """
        found = self.resolve(segment, position)
        if found is None:
            return []
        word, segment, position = found
        if word & 3 != _LIST or (word >> 32) & 7 != _POINTERS:
            raise ProtocolError("a pointer leads to something other than a list of texts")
        count = word >> 35
        self._check(segment, position, count * 8)
        self.spend(count * 8)
        return [self.text_at(segment, position + i * 8) for i in range(count)]


class Struct:
    """A struct inside a message. Fields beyond what the writer knew read as their defaults."""

    __slots__ = ("data_bytes", "message", "pointers", "position", "segment")

    def __init__(self, message: Message, segment: int, position: int, data_bytes: int, pointers: int) -> None:
        self.message = message
        self.segment = segment
        self.position = position
        self.data_bytes = data_bytes
        self.pointers = pointers

    @classmethod
    def empty(cls) -> Struct:
        """Return a struct of defaults."""
        return cls(_NOTHING, 0, 0, 0, 0)

    def uint(self, offset: int, size: int) -> int:
        """Return the unsigned integer of `size` bytes at byte `offset` of the data section."""
        if offset + size > self.data_bytes:
            return 0
        at = self.position + offset
        return int.from_bytes(self.message.data[at : at + size], "little")

    def sint(self, offset: int, size: int) -> int:
        """Return the signed integer of `size` bytes at byte `offset` of the data section."""
        value = self.uint(offset, size)
        return value - (1 << size * 8) if value >> (size * 8 - 1) else value

    def capability(self, index: int) -> int | None:
        """Return which entry of the capability table pointer `index` names; None if it is no capability."""
        at = self._pointer(index)
        found = None if at is None else self.message.resolve(self.segment, at)
        return None if found is None or found[0] & 0xFFFF_FFFF != _CAPABILITY else found[0] >> 32

    def flag(self, bit: int) -> bool:
        """Return the Bool at `bit` of the data section."""
        return bool(self.uint(bit // 8, 1) >> bit % 8 & 1)

    def _pointer(self, index: int) -> int | None:
        return self.position + self.data_bytes + index * 8 if index < self.pointers else None

    def struct(self, index: int) -> Struct:
        """Return the struct at pointer `index`."""
        at = self._pointer(index)
        return Struct(self.message, 0, 0, 0, 0) if at is None else self.message.struct(self.segment, at)

    def data(self, index: int) -> bytes:
        """Return the Data at pointer `index`."""
        at = self._pointer(index)
        return b"" if at is None else self.message.bytes_at(self.segment, at)

    def text(self, index: int) -> bytes:
        """Return the Text at pointer `index`."""
        at = self._pointer(index)
        return b"" if at is None else self.message.text_at(self.segment, at)

    def structs(self, index: int) -> list[Struct]:
        """Return the list of structs at pointer `index`."""
        at = self._pointer(index)
        return [] if at is None else self.message.structs_at(self.segment, at)

    def texts(self, index: int) -> list[bytes]:
        """Return the List(Text) at pointer `index`."""
        at = self._pointer(index)
        return [] if at is None else self.message.texts_at(self.segment, at)


_NOTHING = Message(b"", Frame([], 0))
