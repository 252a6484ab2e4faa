"""Set, add and remove header fields on the way to an origin or back (upstream wishes #795 and #1499).

What frames a message, belongs to one hop, or says who the visitor is cannot be set: that is the connector's to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

HeaderList: TypeAlias = list[tuple[bytes, bytes]]

#: Bytes of one value in a config.
MAX_VALUE = 8 * 1024
#: Fields that one of set, add and remove may name.
MAX_FIELDS = 128

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}", re.ASCII)  # RFC 9110 5.6.2
#: Fields of one hop (RFC 9110 7.6.1), of framing (RFC 9112 6) and of the WebSocket handshake (RFC 6455 4).
_CONNECTION_FIELDS = frozenset(
    """connection content-length expect http2-settings keep-alive proxy-authenticate proxy-authorization
    proxy-connection te trailer transfer-encoding upgrade sec-websocket-accept sec-websocket-extensions
    sec-websocket-key sec-websocket-protocol sec-websocket-version""".split()
)
#: Fields in which the edge or the connector says who the visitor is and how the request came.
_IDENTITY_FIELDS = frozenset(
    """cf-connecting-ip cf-connecting-ipv6 cf-connecting-o2o cf-ew-via cf-ipcountry cf-pseudo-ipv4 cf-ray
    cf-trace-id cf-visitor cf-worker true-client-ip""".split()
)
_IDENTITY_PREFIXES = ("cf-access-", "cf-warp-tag-")
#: Fields between the connector and the edge, which the edge does not pass on (wire.md 14).
_CONTROL_PREFIXES = ("cf-cloudflared-", "cf-int-", "cf-proxy-")


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderRules:
    """What to do with the header fields of one direction. Values may be secrets and are not shown."""

    set: tuple[tuple[bytes, bytes], ...] = field(default=(), repr=False)
    "Replace all fields of that name by one."
    add: tuple[tuple[bytes, bytes], ...] = field(default=(), repr=False)
    "Add a field beside those of that name."
    remove: tuple[bytes, ...] = ()
    "Names in lower case."

    def apply(self, headers: Iterable[tuple[bytes, bytes]]) -> HeaderList:
        """Return the headers after removing, setting and adding, in this order; others keep their place."""
        pending = {name.lower(): (name, value) for name, value in self.set}
        replaced = frozenset(pending)
        result: HeaderList = []
        for name, value in headers:
            lower = name.lower()
            if lower in replaced:
                if (new := pending.pop(lower, None)) is not None:
                    result.append(new)
            elif lower not in self.remove:
                result.append((name, value))
        result.extend(pending.values())
        result.extend(self.add)
        return result


def check_name(name: str, *, removing: bool = False) -> str:
    """Return `name` if a rule may name it.

    Raises:
        ValueError: it is no field name, or not the user's to change; its message is a sentence.
    """
    if _TOKEN.fullmatch(name) is None:
        raise ValueError("expected the name of a header field, such as X-Frame-Options (letters, digits and hyphens)")
    lower = name.lower()
    if lower == "host":
        raise ValueError("the field Host cannot be changed here; use httpHostHeader")
    if lower in _CONNECTION_FIELDS:
        raise ValueError(f"the field {name} belongs to the connection and cannot be changed")
    if lower.startswith(_CONTROL_PREFIXES):
        raise ValueError(f"the field {name} is between the connector and the edge and cannot be changed")
    if not removing and (lower in _IDENTITY_FIELDS or lower.startswith(_IDENTITY_PREFIXES)):
        raise ValueError(f"the field {name} says who the visitor is; it can be removed, but not set or added")
    return name


def check_value(value: str) -> bytes:
    """Return `value` as the bytes of a field, without white space around it.

    Raises:
        ValueError: it holds CR, LF, NUL or another control character, or is too long. The value is not shown.
    """
    encoded = value.strip(" \t").encode("utf-8", "surrogateescape")
    if len(encoded) > MAX_VALUE:
        raise ValueError(f"the value is longer than {MAX_VALUE} bytes")
    if any((byte < 0x20 and byte != 0x09) or byte == 0x7F for byte in encoded):
        raise ValueError("the value holds a control character, such as a line break")
    return encoded
