"""Response headers as one header: how they cross an HTTP/2 connection between connector and edge (wire.md 14).

Each field is base64 of its name, a colon, base64 of its value, both unpadded; fields are joined by semicolons. So names
keep their case and values every byte. Written by the connector, read by the edge.
"""

from __future__ import annotations

from base64 import b64decode
from binascii import b2a_base64
from typing import TYPE_CHECKING, Final

from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.http.header_names import check_name, check_no_controls, check_values, remember
from pyconnector.web.header_names import INTERNAL_PREFIXES

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Longest serialized value that is looked at.
MAX_SERIALIZED_BYTES: Final = 262_144

#: Fields between connector and edge; an origin's fields of these names do not pass.
_CONTROL_PREFIXES: Final = (b":", *INTERNAL_PREFIXES)

#: Names to what their fields begin with. Bounded like the caches of `header_names`.
_beginnings: dict[bytes, bytes] = {}


def serialize_headers(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the value of Cf-Cloudflared-Response-Headers. Names are kept as they are; control names are left out.

    Raises:
        ProtocolError: a name is no token or a value holds a control character.
    """
    fields, encoded = [], []
    for field in headers:
        name = field[0]
        beginning = _beginnings.get(name)
        if beginning is None:
            if name.lower().startswith(_CONTROL_PREFIXES):
                continue
            check_name(name)
            beginning = remember(_beginnings, name, _encoded(name) + b":")
        fields.append(field)
        encoded.append(beginning + b2a_base64(field[1], newline=False).rstrip(b"="))
    check_values(fields)
    return b";".join(encoded)


def parse_serialized_headers(text: bytes) -> list[tuple[bytes, bytes]]:
    """Read a value of Cf-Cloudflared-Response-Headers.

    Raises:
        ProtocolError: it is malformed or too long, a name is no token or a value holds a control character.
    """
    if len(text) > MAX_SERIALIZED_BYTES:
        raise ProtocolError(f"serialized headers of {len(text)} bytes are beyond the limit of {MAX_SERIALIZED_BYTES}")
    fields = []
    for pair in text.split(b";"):
        if not pair:
            continue
        name, colon, value = pair.partition(b":")
        if not colon or b":" in value:
            raise ProtocolError("a serialized header is not a name and a value")
        fields.append((_decoded(name), _decoded(value)))
    check_no_controls(fields)
    for name, _ in fields:
        check_name(name)
    return fields


def _encoded(value: bytes) -> bytes:
    return b2a_base64(value, newline=False).rstrip(b"=")


def _decoded(text: bytes) -> bytes:
    if b"=" in text:
        raise ProtocolError("a serialized header is padded")
    try:
        return b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except ValueError:
        raise ProtocolError("a serialized header is not base64") from None
