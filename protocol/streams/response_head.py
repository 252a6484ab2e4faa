"""An origin's answer straight to the bytes of a ConnectResponse: what `headers` and `connect_codec` do in two steps.

One per request. A field's name leads at once to the padded key that stands for it in the message, without a list of
metadata in between. The two steps are the oracle in the tests. Called through `protocol.streams.openings`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.http.header_names import (
    MAX_CACHED_NAME_BYTES,
    MAX_CACHED_NAMES,
    check_no_controls,
    metadata_key,
)
from pyconnector.protocol.http.headers import RESPONSE_HOP_KEYS, STATUS_KEY, response_metadata
from pyconnector.protocol.streams import connect_codec as codec
from pyconnector.protocol.streams.connect import ConnectResponse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyconnector.protocol.streams.connect import Metadata

# None stands for the key of the status, for no field can have it as its name.
_STATUS_PAIRS: Final = {status: (None, b"%d" % status) for status in range(100, 1000)}
_STATUS_ENTRY: Final = codec.remember_key(STATUS_KEY)

#: Field names to keys. Filled and bounded like the caches of `header_names`.
_keys: dict[bytes | None, codec.Key] = {None: _STATUS_ENTRY}


class _LeftOut(Exception):
    """A field is not handed on; caught below."""


def encode_head(status: int, fields: Sequence[tuple[bytes, bytes]], extra: Metadata, prefix: bytes) -> bytes:
    """Return `prefix` and the message. Raises ProtocolError as `response_metadata` and the encoder do."""
    first = _STATUS_PAIRS.get(status)
    if first is not None and not extra:
        try:
            check_no_controls(fields)
            return codec.encode_pairs([first, *fields], prefix, _keys, _remember)
        except (_LeftOut, ProtocolError):
            pass  # the two steps leave out, and refuse, in their own words
    metadata = (*response_metadata(status, fields), *extra)
    return codec.encode_response(ConnectResponse(metadata=metadata), prefix)


def _remember(name: bytes | None) -> codec.Key:
    assert name is not None
    key = metadata_key(name)
    if key in RESPONSE_HOP_KEYS:
        raise _LeftOut
    entry = codec.remember_key(key)
    if len(name) <= MAX_CACHED_NAME_BYTES:
        if len(_keys) > MAX_CACHED_NAMES:
            _keys.clear()
            _keys[None] = _STATUS_ENTRY
        _keys[name] = entry
    return entry
