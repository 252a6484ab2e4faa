"""Conditional and range requests for one file (RFC 9110 13 and 14). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Bytes of a field that lists entity tags.
MAX_TAGS = 4096
_TAG = re.compile(rb'[ \t,]*(W/)?("[\x21\x23-\x7e\x80-\xff]*")[ \t]*')
_RANGE = re.compile(rb"bytes=[ \t]*([0-9]{0,18})-([0-9]{0,18})[ \t]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Version:
    """What tells one state of a file from another."""

    size: int
    modified_ns: int
    inode: int

    @property
    def tag(self) -> bytes:
        """The strong entity tag."""
        return b'"%x-%x-%x"' % (self.inode, self.size, self.modified_ns & 2**64 - 1)

    @property
    def modified(self) -> bytes:
        """The moment of the last change, as HTTP has it."""
        return formatdate(max(0, self.modified_ns // 10**9), usegmt=True).encode("ascii")


@dataclass(frozen=True, slots=True)
class Part:
    """What is to be answered: a status, and which bytes."""

    status: int
    first: int = 0
    length: int = 0


def choose(version: Version, method: str, fields: Mapping[bytes, bytes]) -> Part:
    """Return what a request is answered, by its fields in lower case and in the order of RFC 9110 13.2.2."""
    if (tags := fields.get(b"if-match")) is not None:
        if not _matches(tags, version, strong=True):
            return Part(412)
    elif (date := _date(fields.get(b"if-unmodified-since"))) is not None and version.modified_ns // 10**9 > date:
        return Part(412)
    if (tags := fields.get(b"if-none-match")) is not None:
        if _matches(tags, version, strong=False):
            return Part(304)
    elif (date := _date(fields.get(b"if-modified-since"))) is not None and version.modified_ns // 10**9 <= date:
        return Part(304)
    whole = Part(200, 0, version.size)
    wanted = fields.get(b"range")
    if wanted is None or method != "GET" or not _may_range(fields.get(b"if-range"), version):
        return whole
    return _range(wanted, version.size) or whole


def _range(wanted: bytes, size: int) -> Part | None:
    """Return the one range that is asked for; None for several, and for what is no range: that is ignored (14.2)."""
    found = _RANGE.fullmatch(wanted)
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        length = min(int(found[2]), size)
        return Part(206, size - length, length) if length else Part(416)
    first = int(found[1])
    last = min(int(found[2]) if found[2] else size - 1, size - 1)
    if found[2] and int(found[2]) < first:
        return None
    return Part(206, first, last - first + 1) if first < size else Part(416)


def _may_range(condition: bytes | None, version: Version) -> bool:
    if condition is None:
        return True
    if condition.startswith((b'"', b"W/")):
        return condition == version.tag
    return condition == version.modified  # a date that was not ours is no strong validator


def _matches(tags: bytes, version: Version, *, strong: bool) -> bool:
    if tags.strip(b" \t") == b"*":
        return True
    at = 0
    tags = tags[:MAX_TAGS]
    while (found := _TAG.match(tags, at)) is not None:
        if found[2] == version.tag and not (strong and found[1]):
            return True
        at = found.end()
    return False


def _date(text: bytes | None) -> int | None:
    if text is None or len(text) > 64:
        return None
    try:
        return int(parsedate_to_datetime(text.decode("ascii")).timestamp())
    except (ValueError, TypeError, OverflowError):
        return None
