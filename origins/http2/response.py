"""Whether the field sections of a response are well-formed (RFC 9113 8.3.2; see also `web.http2.fields`). Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyconnector.origins.http2.engine import MAX_HEADER_LIST
from pyconnector.web.http2.fields import Malformed, check_section

if TYPE_CHECKING:
    from pyconnector.origins.base import Headers


def check_response(fields: Headers) -> tuple[int, Headers, int | None]:
    """Return the status, the header fields and the length of the body, where it is said.

    Raises:
        Malformed: its stream is to be reset.
    """
    fields = _mended(fields)
    status = check_section(fields, (b":status",)).get(b":status", b"")
    if len(status) != 3 or not status.isdigit():
        raise Malformed("its :status is no status")
    lengths = {value for name, value in fields if name == b"content-length"}
    if len(lengths) > 1 or not all(value.isdigit() and len(value) < 20 for value in lengths):
        raise Malformed("its content-length is no number, or two")
    return int(status), fields[1:], int(lengths.pop()) if lengths else None


def check_trailers(fields: Headers) -> Headers:
    """Return the fields of a trailer section.

    Raises:
        Malformed: its stream is to be reset.
    """
    fields = _mended(fields)
    check_section(fields)
    return fields


def _mended(fields: Headers) -> Headers:
    """Without blanks around values, which clients in the field pass over."""
    if sum(len(name) + len(value) + 32 for name, value in fields) > MAX_HEADER_LIST:
        raise Malformed(f"a section of header fields is beyond {MAX_HEADER_LIST} bytes")
    return [(name, value.strip(b" \t")) for name, value in fields]
