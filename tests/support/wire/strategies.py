"""Hypothesis strategies that the decoders' tests share: pieces of bytes, damage to bytes, heads and requests."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from pyconnector.protocol.streams.connect import ConnectionType, ConnectRequest, ConnectResponse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hypothesis.strategies import SearchStrategy


def every_chunking(data: bytes, *, splits: int = 4_096) -> Iterator[list[bytes]]:
    """Yield `data` whole, byte by byte, and cut in two at each of at most `splits` offsets, evenly spread."""
    yield [data]
    yield [data[i : i + 1] for i in range(len(data))]
    step = max(1, len(data) // splits)
    for cut in range(0, len(data) + 1, step):
        yield [data[:cut], data[cut:]]


def chunked(data: bytes, cuts: list[int]) -> list[bytes]:
    """Cut `data` at the given places, wherever they fall."""
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[first:last] for first, last in itertools.pairwise(places)] or [data]


#: Where to cut, for `chunked`.
cuts: SearchStrategy[list[int]] = st.lists(st.integers(0, 1 << 16), max_size=8)

tokens: SearchStrategy[bytes] = st.text(
    "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=1, max_size=24
).map(str.encode)

#: What a field value may hold: no controls but the tab.
field_values: SearchStrategy[bytes] = st.binary(max_size=80).map(
    lambda value: bytes(byte for byte in value if byte == 9 or 32 <= byte != 127)
)
header_lists: SearchStrategy[list[tuple[bytes, bytes]]] = st.lists(st.tuples(tokens, field_values), max_size=12)

#: Any metadata at all, fit for headers or not.
metadata: SearchStrategy[tuple[tuple[bytes, bytes], ...]] = st.lists(
    st.tuples(st.binary(max_size=40), st.binary(max_size=80)), max_size=12
).map(tuple)

#: Text as decoding with surrogateescape gives it.
wire_text: SearchStrategy[str] = st.binary(max_size=60).map(lambda value: value.decode("utf-8", "surrogateescape"))

connect_requests: SearchStrategy[ConnectRequest] = st.builds(
    ConnectRequest, dest=wire_text, type=st.sampled_from(ConnectionType), metadata=metadata
)
connect_responses: SearchStrategy[ConnectResponse] = st.builds(ConnectResponse, error=wire_text, metadata=metadata)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Return `data` with a few bytes flipped, set, repeated, cut out or cut off, as `rng` says."""
    result = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        if not result:
            break
        at = rng.randrange(len(result))
        how = rng.randrange(6)
        if how == 0:
            result[at] ^= 1 << rng.randrange(8)
        elif how == 1:
            result[at] = rng.choice((0, 1, 2, 3, 7, 0x0A, 0x0D, 0x7F, 0x80, 0xFF))
        elif how == 2:
            word = at // 8 * 8
            result[word : word + 8] = rng.choice((bytes(8), b"\xff" * 8, rng.randbytes(8)))
        elif how == 3:
            result[at:at] = rng.randbytes(rng.randint(1, 9))
        elif how == 4:
            del result[at : at + rng.randint(1, 9)]
        else:
            first = rng.randrange(len(result))
            result[at : at + 8] = result[first : first + 8]
    if rng.random() < 0.1:
        del result[rng.randrange(len(result) + 1) :]
    return bytes(result)


#: Damage to a given value, reproducible by hypothesis: draw a seed and call `damaged`.
damage: SearchStrategy[random.Random] = st.integers(0, (1 << 32) - 1).map(random.Random)
