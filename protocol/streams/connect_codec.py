"""ConnectRequest and ConnectResponse as Cap'n Proto messages, by hand (layouts: wire.md 4.1).

Each request costs one of either, so this is the hottest code of the room: a general library pays for a reader
object per pointer. The fast readers below take what every known writer emits (one segment, no far pointer, texts in
order and apart) in one pass, and answer None for anything else, right or wrong; `protocol.capnp_format.reader`
then decides. `protocol.capnp_format.schemas` holds the same messages through a library and is the oracle in the tests.
"""

from __future__ import annotations

from struct import Struct as Layout
from struct import error as struct_error
from struct import pack, unpack_from
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from pyconnector.protocol.capnp_format.reader import Message, Struct
from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.streams.connect import ConnectionType, ConnectRequest, ConnectResponse, Metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyconnector.protocol.capnp_format.framing import Frame

_TYPES = (ConnectionType.HTTP, ConnectionType.WEBSOCKET, ConnectionType.TCP)

# Root pointers to a struct that follows at once, by its data words and pointers.
_REQUEST_ROOT = 0x0002_0001_0000_0000
_RESPONSE_ROOT = 0x0002_0000_0000_0000
_REQUEST_HEAD = Layout("<4Q").unpack_from
_RESPONSE_HEAD = Layout("<3Q").unpack_from

# Low two bits: kind of pointer; the three from bit 32: size of the elements of a list.
_KIND = 0x7_0000_0003
_TEXT = 0x2_0000_0001
_COMPOSITE = 0x7_0000_0001
#: Tag of a list whose elements have no data and two pointers, without its count.
_METADATA_TAG = 0x0002_0000
_REQUEST_HALVES = (0, 2 << 16 | 1)
_RESPONSE_HALVES = (0, 2 << 16)
#: Terminator and padding after a text, by its length modulo 8.
_PADDING = tuple(bytes(8 - n) for n in range(8))

#: Most keys that the encoder remembers, and the longest. A visitor invents names for free: a full cache starts again.
MAX_CACHED_KEYS = 1_024
MAX_CACHED_KEY_BYTES = 80
#: A key with its padding, the words it takes, and the high half of a pointer to it.
Key: TypeAlias = tuple[bytes, int, int]
_Name = TypeVar("_Name")
_keys: dict[bytes, Key] = {}


def decode_request(data: bytes, frame: Frame, start: int) -> ConnectRequest:
    """Decode the message of `frame` at `start` of `data`.

    Raises:
        ProtocolError: it is no legal ConnectRequest.
    """
    root = Message(data, frame, start).root()
    return ConnectRequest(
        dest=root.text(0).decode("utf-8", "surrogateescape"),
        type=_connection_type(root.uint(0, 2)),
        metadata=_metadata(root),
    )


def decode_response(data: bytes, frame: Frame, start: int) -> ConnectResponse:
    """Decode the message of `frame` at `start` of `data`.

    Raises:
        ProtocolError: it is no legal ConnectResponse.
    """
    root = Message(data, frame, start).root()
    return ConnectResponse(error=root.text(0).decode("utf-8", "surrogateescape"), metadata=_metadata(root))


def _connection_type(number: int) -> ConnectionType:
    if number >= len(_TYPES):
        raise ProtocolError(f"connection type {number} is unknown")
    return _TYPES[number]


def _metadata(root: Struct) -> Metadata:
    return tuple((entry.text(0), entry.text(1)) for entry in root.structs(1))


def fast_request(data: bytes, start: int, end: int) -> ConnectRequest | None:
    """Decode the segment `data[start:end]` if it is laid out as usual, else return None. Never raises."""
    if end - start < 32:
        return None
    root, number, dest, pairs = _REQUEST_HEAD(data, start)
    # All of the data section but the type's two bytes is padding today, and may hold later fields tomorrow.
    number &= 0xFFFF
    if root != _REQUEST_ROOT or number > 2:
        return None
    text = _fast_text(data, dest, start + 24, end)
    metadata = _fast_metadata(data, pairs, start + 32, end)
    if text is None or metadata is None:
        return None
    return ConnectRequest(text.decode("utf-8", "surrogateescape"), _TYPES[number], metadata)


def fast_response(data: bytes, start: int, end: int) -> ConnectResponse | None:
    """Decode the segment `data[start:end]` if it is laid out as usual, else return None. Never raises."""
    if end - start < 24:
        return None
    root, error, pairs = _RESPONSE_HEAD(data, start)
    if root != _RESPONSE_ROOT:
        return None
    text = _fast_text(data, error, start + 16, end)
    metadata = _fast_metadata(data, pairs, start + 24, end)
    if text is None or metadata is None:
        return None
    return ConnectResponse(text.decode("utf-8", "surrogateescape"), metadata)


def _fast_text(data: bytes, word: int, base: int, end: int) -> bytes | None:
    """Return the text that pointer `word`, which ends at `base`, points to."""
    if not word:
        return b""
    begin = base + ((word & 0xFFFF_FFFC) << 1)
    last = begin + (word >> 35) - 1
    if word & _KIND != _TEXT or last < begin or last >= end or data[last]:
        return None
    return data[begin:last]


def _fast_metadata(data: bytes, word: int, base: int, end: int) -> Metadata | None:
    """Return the key and value pairs of the list that pointer `word`, which ends at `base`, points to."""
    if not word:
        return ()
    # A negative offset reads as a huge one here and fails the bound below.
    begin = base + ((word & 0xFFFF_FFFC) << 1)
    words = word >> 35
    if word & _KIND != _COMPOSITE or begin + 8 + words * 8 > end:
        return None
    tag: int = unpack_from("<Q", data, begin)[0]
    # The count, shifted by the two bits of the tag's kind, which are 0: four halves of pointers for each pair.
    halves = tag & 0xFFFF_FFFF
    if tag >> 32 != _METADATA_TAG or halves & 3 or halves > words * 2:
        return None
    pairs: list[tuple[bytes, bytes]] = []
    append = pairs.append
    # Two less than where offsets count from, because the low half of a text pointer, doubled, is its offset plus 2.
    origin = begin + 6
    floor = 0
    half = iter(unpack_from(f"<{halves}I", data, begin + 8))
    try:
        for key_low, key_high, value_low, value_high in zip(half, half, half, half, strict=True):
            origin += 16
            if key_low & 3 != 1 or key_high & 7 != 2:
                return None
            first = origin - 8 + (key_low << 1)
            last = first + (key_high >> 3) - 1
            # In order and apart: so no byte is read twice, and the size of the message bounds the work.
            if first < floor or last < first or data[last]:
                return None
            key = data[first:last]
            floor = last
            if value_low & 3 == 1 and value_high & 7 == 2:
                first = origin + (value_low << 1)
                last = first + (value_high >> 3) - 1
                if first < floor or last < first or data[last]:
                    return None
                append((key, data[first:last]))
                floor = last
            elif value_low or value_high:
                return None
            else:
                append((key, b""))
    except IndexError:
        return None
    return tuple(pairs) if floor < end else None


def encode_request(request: ConnectRequest, prefix: bytes) -> bytes:
    """Return `prefix` and the message for `request`, in one segment."""
    dest = request.dest.encode("utf-8", "surrogateescape")
    return _encode(prefix, (*_REQUEST_HALVES, int(request.type), 0), dest, request.metadata, _keys, remember_key)


def encode_response(response: ConnectResponse, prefix: bytes) -> bytes:
    """Return `prefix` and the message for `response`, in one segment."""
    error = response.error.encode("utf-8", "surrogateescape")
    return _encode(prefix, _RESPONSE_HALVES, error, response.metadata, _keys, remember_key)


def encode_pairs(
    pairs: Sequence[tuple[_Name, bytes]], prefix: bytes, known: dict[_Name, Key], remember: Callable[[_Name], Key]
) -> bytes:
    """As `encode_response`, of no error and `pairs`, whose first halves stand for the keys that `known` has for them;
    where it has none, `remember` is called."""
    return _encode(prefix, _RESPONSE_HALVES, b"", pairs, known, remember)


def _encode(
    prefix: bytes,
    head: tuple[int, ...],
    text: bytes,
    metadata: Sequence[tuple[_Name, bytes]],
    keys: dict[_Name, Key],
    remember: Callable[[_Name], Key],
) -> bytes:
    """Lay out: root pointer and data, two pointers, the list of pairs, then every text in order."""
    count = len(metadata)
    # Words are built as 32-bit halves, which Python computes faster. `gap` is the offset that the next pointer needs to
    # reach the next free word: it falls by one with each pointer and grows with each text.
    halves = list(head)
    texts = [prefix, b""]
    gap = 2 * count + 2 if count else 1
    if text:
        size = len(text)
        halves += (gap << 2 | 1, size + 1 << 3 | 2)
        texts += (text, _PADDING[size & 7])
        gap += size + 8 >> 3
    else:
        halves += (0, 0)
    if count:
        halves += (1, 2 * count << 3 | 7, count << 2, _METADATA_TAG)
        gap -= 2
    else:
        halves += (0, 0)
    known = keys.get
    for key, value in metadata:
        padded, span, key_high = known(key) or remember(key)
        size = len(value)
        if size:
            halves += (gap - 1 << 2 | 1, key_high, gap + span - 2 << 2 | 1, size + 1 << 3 | 2)
            texts += (padded, value, _PADDING[size & 7])
            gap += span + (size + 8 >> 3) - 2
        else:
            halves += (gap - 1 << 2 | 1, key_high, 0, 0)
            texts.append(padded)
            gap += span - 2
    if not count:
        gap -= 1
    # Now `gap` is the words of all texts.
    try:
        texts[1] = pack(f"<{len(halves) + 2}I", 0, len(halves) // 2 + gap, *halves)
    except struct_error:
        raise ProtocolError("a header has more bytes than a message can hold") from None
    return b"".join(texts)


def remember_key(key: bytes) -> Key:
    """Return what there is to know of `key`, and keep it where there is room."""
    size = len(key)
    entry = key + _PADDING[size & 7], size + 8 >> 3, size + 1 << 3 | 2
    if size <= MAX_CACHED_KEY_BYTES:
        if len(_keys) >= MAX_CACHED_KEYS:
            _keys.clear()
        _keys[key] = entry
    return entry
