"""Field sections as they are compressed (RFC 7541): what comes decoded in one pass, what goes encoded with one lookup a
field. Pure.

The hpack library, which is the oracle of the tests, takes 50 microseconds for a request and its answer; this takes 10.
Its tables and its Huffman code are used. Nothing here judges what fields say.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, TypeAlias

from hpack import HPACKError, NeverIndexedHeaderTuple
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

if TYPE_CHECKING:
    from collections.abc import Sequence

Field: TypeAlias = tuple[bytes, bytes]

#: Bytes of the table of either direction: what RFC 9113 6.5.2 begins with. We never ask for another size.
TABLE_SIZE = 4096
#: What an entry counts beside its name and value (RFC 7541 4.1).
ENTRY_OVERHEAD = 32
#: Largest entry that goes into our table: larger ones would push everything else out.
LARGEST_ENTRY = TABLE_SIZE // 4
#: Changes of the table's size at the beginning of a block (RFC 7541 4.2): thousands would fit into one.
MAX_RESIZINGS = 2
#: Largest integer that is read: nothing here is longer.
MAX_INTEGER = 1 << 24

_STATIC: tuple[Field, ...] = ((b"", b""), *HeaderTable.STATIC_TABLE)
_FIRST_DYNAMIC = len(_STATIC)
#: With what each counts.
_STATIC_ENTRIES = tuple((field, len(field[0]) + len(field[1]) + ENTRY_OVERHEAD) for field in _STATIC)
_STATIC_FIELDS = {field: index for index, field in reversed(list(enumerate(_STATIC))) if index}
_STATIC_NAMES = {field[0]: index for index, field in reversed(list(enumerate(_STATIC))) if index}


class MalformedFields(Exception):
    """A block cannot be decoded. Caught where frames are read: nothing after it would be understood."""


class FieldDecoder:
    """Decodes the blocks of one direction of a connection, in their order."""

    __slots__ = ("_entries", "_max_list", "_size", "_table_size")

    def __init__(self, max_list: int) -> None:
        """`max_list` bounds a section, in bytes as RFC 9113 6.5.2 counts them."""
        self._max_list = max_list
        self._entries: deque[tuple[Field, int]] = deque()  # with what each counts, the newest first
        self._size = 0
        self._table_size = TABLE_SIZE

    def decode(self, block: bytes) -> list[Field]:
        """Return the fields of a block.

        Raises:
            MalformedFields: it is none, or holds more than `max_list` bytes.
        """
        try:
            return self._decode(block)
        except IndexError:
            raise MalformedFields("a block of fields ends too soon, or refers to nothing") from None
        except HPACKError:
            raise MalformedFields("a field breaks Huffman's code") from None

    def _decode(self, block: bytes) -> list[Field]:
        fields: list[Field] = []
        entries, limit = self._entries, self._max_list
        at, end, size, resizings = 0, len(block), 0, 0
        while at < end:
            first = block[at]
            at += 1
            if first & 0x80:  # a field of the table
                index = first & 0x7F
                if index == 0x7F:
                    index, at = _integer(block, at, 0x7F)
                if index >= _FIRST_DYNAMIC:
                    field, count = entries[index - _FIRST_DYNAMIC]
                elif index:
                    field, count = _STATIC_ENTRIES[index]
                else:
                    raise MalformedFields("a field stands at no place of the table")
            elif first & 0xE0 == 0x20:  # another size of the table
                resizings += 1
                if fields or resizings > MAX_RESIZINGS:
                    raise MalformedFields("the size of the table changes too often, or behind a field")
                at = self._resize(block, at, first & 0x1F)
                continue
            else:
                field, count, at = self._literal(block, at, first)
            fields.append(field)
            size += count
            if size > limit:
                raise MalformedFields(f"a section is beyond {limit} bytes")
        return fields

    def _literal(self, block: bytes, at: int, first: int) -> tuple[Field, int, int]:
        kept = first & 0x40
        mask = 0x3F if kept else 0x0F
        index = first & mask
        if index == mask:
            index, at = _integer(block, at, mask)
        if not index:
            name, at = _string(block, at)
        elif index < _FIRST_DYNAMIC:
            name = _STATIC[index][0]
        else:
            name = self._entries[index - _FIRST_DYNAMIC][0][0]
        value, at = _string(block, at)
        field, count = (name, value), len(name) + len(value) + ENTRY_OVERHEAD
        if kept:
            self._entries.appendleft((field, count))
            self._size += count
            if self._size > self._table_size:
                self._evict()
        return field, count, at

    def _resize(self, block: bytes, at: int, size: int) -> int:
        if size == 0x1F:
            size, at = _integer(block, at, 0x1F)
        if size > TABLE_SIZE:
            raise MalformedFields("the table becomes larger than allowed")
        self._table_size = size
        self._evict()
        return at

    def _evict(self) -> None:
        entries = self._entries
        while self._size > self._table_size:
            self._size -= entries.pop()[1]


class FieldEncoder:
    """Encodes the blocks of one direction of a connection, in their order. Without Huffman's code, which takes Python
    some 0.1 microseconds a byte and saves a quarter."""

    __slots__ = ("_entries", "_evicted", "_names", "_resized", "_size", "_table_size")

    def __init__(self) -> None:
        self._entries: dict[Field, int] = {}  # the oldest first, with how many were added before it
        self._names: dict[bytes, int] = {}  # the newest of each name
        self._evicted = 0
        self._size = 0
        self._table_size = TABLE_SIZE
        self._resized: list[int] = []  # sizes that the next block tells of

    def resize(self, size: int) -> None:
        """The peer keeps a table of `size` bytes at most; more than `TABLE_SIZE` is not used."""
        size = min(size, TABLE_SIZE)
        if size != self._table_size:
            # The smallest since the last block, and the last (RFC 7541 4.2).
            smallest = min(size, *self._resized) if self._resized else size
            self._resized = [smallest] if smallest == size else [smallest, size]
            self._table_size = size
            self._evict(size)

    def encode(self, fields: Sequence[Field]) -> bytes:
        """Return the block of `fields`. One that is a `NeverIndexedHeaderTuple` stays out of every table."""
        entries, pieces = self._entries, bytearray()
        for size in self._resized:
            _put_integer(pieces, 0x20, 0x1F, size)
        self._resized.clear()
        for field in fields:
            index = _STATIC_FIELDS.get(field)
            if index is not None:
                pieces.append(0x80 | index)  # fewer than 127
                continue
            added = entries.get(field)
            name, value = field
            if added is not None:
                index = self._evicted + len(entries) - added + _FIRST_DYNAMIC - 1
                if index < 0x7F:
                    pieces.append(0x80 | index)
                else:
                    _put_integer(pieces, 0x80, 0x7F, index)
                continue
            size = len(name) + len(value) + ENTRY_OVERHEAD
            named = _STATIC_NAMES.get(name) or self._named(name)
            if type(field) is NeverIndexedHeaderTuple:
                _put_integer(pieces, 0x10, 0x0F, named)
            elif size > min(LARGEST_ENTRY, self._table_size):
                _put_integer(pieces, 0x00, 0x0F, named)
            else:
                _put_integer(pieces, 0x40, 0x3F, named)
                self._evict(self._table_size - size)
                entries[field] = self._names[name] = self._evicted + len(entries)
                self._size += size
            if not named:
                _put_integer(pieces, 0x00, 0x7F, len(name))
                pieces += name
            _put_integer(pieces, 0x00, 0x7F, len(value))
            pieces += value
        return bytes(pieces)

    def _named(self, name: bytes) -> int:
        added = self._names.get(name)
        return 0 if added is None else self._evicted + len(self._entries) - added + _FIRST_DYNAMIC - 1

    def _evict(self, left: int) -> None:
        entries = self._entries
        while self._size > left:
            (name, value), added = next(iter(entries.items()))
            del entries[name, value]
            if self._names[name] == added:
                del self._names[name]
            self._evicted += 1
            self._size -= len(name) + len(value) + ENTRY_OVERHEAD


def _string(block: bytes, at: int) -> tuple[bytes, int]:
    first = block[at]
    at += 1
    size = first & 0x7F
    if size == 0x7F:
        size, at = _integer(block, at, 0x7F)
    until = at + size
    if until > len(block):
        raise MalformedFields("a string is longer than its block")
    text = block[at:until]
    return (bytes(decode_huffman(text)) if first & 0x80 else text), until


def _integer(block: bytes, at: int, number: int) -> tuple[int, int]:
    shift = 0
    while True:
        octet = block[at]
        at += 1
        number += (octet & 0x7F) << shift
        if number > MAX_INTEGER or shift > 28:
            raise MalformedFields("an integer is too large")
        if octet < 0x80:
            return number, at
        shift += 7


def _put_integer(into: bytearray, pattern: int, mask: int, number: int) -> None:
    if number < mask:
        into.append(pattern | number)
        return
    into.append(pattern | mask)
    number -= mask
    while number >= 0x80:
        into.append(0x80 | number & 0x7F)
        number >>= 7
    into.append(number)
