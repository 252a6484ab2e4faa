"""Header names: their canonical form, and which names and values may travel at all.

The caches fill with the few names that real traffic repeats, so that the hot path spends one dictionary look-up a
header. Used by `headers` and `serialized_headers`.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

from pyconnector.protocol.errors import ProtocolError
from pyconnector.web.header_names import is_token

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

#: Key under which one header field travels in stream metadata, before its name (wire.md 6).
HEADER_PREFIX: Final = b"HttpHeader:"
#: Most names in a cache. A visitor invents names for free, so a full cache starts again.
MAX_CACHED_NAMES: Final = 1_024
#: Longer names are not cached; with the line above this bounds a cache to some 200 KiB.
MAX_CACHED_NAME_BYTES: Final = 64

#: What no field value may hold (RFC 9110, 5.5): controls, except for the tab.
CONTROLS: Final = bytes(byte for byte in (*range(32), 127) if byte != 9)

_names: dict[bytes, bytes] = {}
_keys: dict[bytes, bytes] = {}


def remember(cache: dict[bytes, bytes], key: bytes, value: bytes) -> bytes:
    """Keep what was found out about the name `key`, within the bounds above; return `value`."""
    if len(key) <= MAX_CACHED_NAME_BYTES:
        if len(cache) >= MAX_CACHED_NAMES:
            cache.clear()
        cache[key] = value
    return value


def canonical_name(name: bytes) -> bytes:
    """Return `name` as Go's textproto writes it: X-Request-Id. What is no token comes back as it is."""
    found = _names.get(name)
    if found is not None:
        return found
    if not is_token(name):
        return name
    return remember(_names, name, b"-".join([part.capitalize() for part in name.split(b"-")]))


def metadata_key(name: bytes) -> bytes:
    """Return the metadata key of header `name`: HttpHeader:X-Request-Id.

    Raises:
        ProtocolError: `name` is empty or no token.
    """
    found = _keys.get(name)
    if found is not None:
        return found
    check_name(name)
    return remember(_keys, name, HEADER_PREFIX + canonical_name(name))


def check_name(name: bytes) -> None:
    """Refuse a name that is no token (RFC 9110, 5.6.2).

    Raises:
        ProtocolError: it is empty, or holds a space, a colon, a control or anything else outside of a token.
    """
    if not is_token(name):
        raise ProtocolError(f"the header name {shown(name)} is not a token")


def check_no_controls(pairs: Iterable[tuple[bytes, bytes]]) -> None:
    """Refuse pairs with NUL, CR, LF or another control in a name or value, which could split a message in two.

    Raises:
        ProtocolError: there is one; the sentence names the field.
    """
    # One pass over everything at C speed; only a refusal looks for the culprit.
    everything = b"".join(chain.from_iterable(pairs))
    if len(everything.translate(None, CONTROLS)) == len(everything):
        return
    for name, value in pairs:
        for part, what in ((name, "name"), (value, "value")):
            if part.translate(None, CONTROLS) != part:
                raise ProtocolError(f"the {what} of header {shown(name)} holds a control character")


def check_values(fields: Collection[tuple[bytes, bytes]]) -> None:
    """As `check_no_controls`, in half of its time, for fields whose names are known to be tokens.

    Raises:
        ProtocolError: a value holds a control character; the sentence names the field.
    """
    everything = b"".join([value for _, value in fields])
    if len(everything.translate(None, CONTROLS)) != len(everything):
        check_no_controls(fields)


def shown(name: bytes) -> str:
    """Return `name` fit for a sentence: quoted, escaped and cut."""
    text = name.removeprefix(HEADER_PREFIX)
    return repr(text[:64].decode("utf-8", "backslashreplace")) + ("..." if len(text) > 64 else "")
