"""Whether a field section is well-formed as HTTP/2 has it (RFC 9113 8.2 and 8.3). Pure.

A malformed request or response is a fault of one stream (8.1.1), not of the connection that it shares with others. The
library would end the connection, so it gets no fields to judge: they are judged here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pyconnector.web.header_names import CONNECTION_SPECIFIC

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    Fields = Sequence[tuple[bytes, bytes]]

_BAD_NAME = re.compile(rb"[\x00-\x20A-Z\x7f-\xff]|(?<=.):|^$", re.DOTALL)
_BAD_VALUE = re.compile(rb"[\x00\r\n]|^[ \t]|[ \t]\Z")


class Malformed(Exception):
    """What is wrong with a field section, in words for a log. Caught by the reader of the connection."""


def check_section(fields: Fields, pseudo_fields: Collection[bytes] = ()) -> dict[bytes, bytes]:
    """Check what is the same in every section; return its pseudo-fields, of which `pseudo_fields` may be there.

    Raises:
        Malformed: its stream is to be reset.
    """
    pseudo: dict[bytes, bytes] = {}
    regular = False
    for name, value in fields:
        if _BAD_NAME.search(name):
            raise Malformed("the name of a field has a capital or another character that no name may have")
        if _BAD_VALUE.search(value):
            raise Malformed("the value of a field has NUL, a line end, or blanks around it")
        if name[:1] == b":":
            if not pseudo_fields:
                raise Malformed("there is a pseudo-field in a trailer section")
            if regular or name in pseudo or name not in pseudo_fields:
                raise Malformed("a pseudo-field is unknown, comes twice or too late")
            pseudo[name] = value
            continue
        regular = True
        if name in CONNECTION_SPECIFIC:
            raise Malformed("a field belongs to a connection of HTTP/1.1")
        if name == b"te" and value.lower() != b"trailers":
            raise Malformed("TE has another value than trailers")
    return pseudo
