"""Lines that are chained: each ends with a digest of itself and of the one before, so that no change goes unseen. Pure.

Whoever can write the file can write it anew from any line on: keep the last digest elsewhere to notice that too.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

#: What the first line of all is chained to.
BEGINNING = "0" * 64
#: How a line ends.
TAIL = re.compile(rb',"Chain":"([0-9a-f]{64})"\}\Z')
_TAIL_LENGTH = len(b',"Chain":""}') + 64
#: One for all records: making it is a fifth of what it does. They are flat, so nothing in them goes round in a circle.
_ENCODE = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False).encode
#: Bytes of a line that is read.
MAX_LINE = 64 * 1024


class ChainBroken(Exception):
    """A line does not follow from the one before. The text says why, without its place."""


@dataclass(frozen=True, slots=True)
class Link:
    """A line as it was read."""

    record: dict[str, Any]
    chain: str


def chained(record: dict[str, Any], before: str) -> tuple[bytes, str]:
    """Return the line of a record, without its end, and its digest; `before` is that of the line before."""
    body = _ENCODE(record).encode("ascii")[:-1]
    digest = _digest(body, before)
    return b'%b,"Chain":"%b"}' % (body, digest.encode("ascii")), digest


def read_link(line: bytes, before: str | None) -> Link:
    """Return what a line, without its end, says; `before` is the digest of the line before, None if that is not known.

    Raises:
        ChainBroken: it is no such line, was changed, or does not follow.
    """
    tail = TAIL.search(line)
    if tail is None:
        raise ChainBroken("it does not end with a digest")
    chain = tail[1].decode("ascii")
    if before is not None and _digest(line[:-_TAIL_LENGTH], before) != chain:
        raise ChainBroken("it was changed, or a line before it is missing")
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        raise ChainBroken("it is no JSON") from None
    if not isinstance(record, dict):
        raise ChainBroken("it is no JSON object")
    record.pop("Chain", None)
    return Link(record, chain)


def _digest(body: bytes, before: str) -> str:
    return hashlib.sha256(before.encode("ascii") + body).hexdigest()
