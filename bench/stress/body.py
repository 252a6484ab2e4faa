"""Bodies that tell on whoever damages them: a number, a size and a hash show what is lost, cut, doubled or mixed up."""

from __future__ import annotations

import hashlib
import random

_HEAD, _DIGEST = 32, 32
#: Bytes of the smallest body.
SMALLEST = _HEAD + _DIGEST
_BLOCK = random.Random(20261129).randbytes(1 << 20)


class Wrong(Exception):
    """An answer that no disturbance excuses: damaged, or another's. The text is one sentence."""


def make_body(number: int, size: int) -> bytes:
    """Return the one body of that number and size (at least `SMALLEST` bytes)."""
    count = max(size - SMALLEST, 0)
    start = number * 4099 % len(_BLOCK)
    filler = _BLOCK[start : start + count]
    while len(filler) < count:
        filler += _BLOCK[: count - len(filler)]
    data = b"%016x%016x" % (number, SMALLEST + count) + filler
    return data + hashlib.sha256(data).digest()


def check_body(data: bytes, number: int, *, whose: str) -> None:
    """Check a body that claims to be whole.

    Raises:
        Wrong: it is not the body of `number`.
    """
    try:
        found, size = int(data[:16], 16), int(data[16:_HEAD], 16)
    except ValueError:
        raise Wrong(f"{whose} {number} is no body of ours: {len(data)} bytes, {data[:40]!r}") from None
    if found != number:
        raise Wrong(f"{whose} {number} has the body of {found}")
    if size != len(data):
        raise Wrong(f"{whose} {number} has {len(data)} bytes of {size} and claims to be whole")
    if hashlib.sha256(data[:-_DIGEST]).digest() != data[-_DIGEST:]:
        raise Wrong(f"{whose} {number} has a damaged body of {size} bytes")
