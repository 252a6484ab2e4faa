"""What an HTTP/2 visitor gets to see: a connector's response as fields, or the edge's own word of a fault. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from pyconnector.edge.visitors.http1.response_head import BadResponse, end_to_end, trailer_fields
from pyconnector.edge.visitors.pages import MAX_REASON, error_page

if TYPE_CHECKING:
    from pyconnector.edge.access.answers import Answer
    from pyconnector.edge.visitors.http1.request_parser import BadRequest

    Headers = list[tuple[bytes, bytes]]

#: Codes of gRPC: of a fault that lies behind the edge, of one in what the visitor said, and of those who may not pass.
UNAVAILABLE = 14
INTERNAL = 13
_REFUSALS = {401: 16, 403: 7, 429: 8}
#: What a grpc-message may hold as it is: visible ASCII and the space, but for the percent sign.
_UNQUOTED = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")

OPTIONS_FIELDS = [(b":status", b"204"), (b"allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")]
CONTINUE_FIELDS = [(b":status", b"100")]


@dataclass(slots=True)
class ResponseFields:
    """A response's header block, and what follows it."""

    fields: Headers
    length: int | None
    "What Content-Length says of the body; None where it says nothing."
    has_body: bool
    ends_grpc: bool
    "Whether gRPC's status is in the header itself: then no body follows, and the end is there soon."


def response_fields(status: int, headers: Headers, method: str) -> ResponseFields:
    """Return the header block of a final response.

    Raises:
        BadResponse: it contradicts itself, or is no final response.
    """
    if not 200 <= status <= 999:
        raise BadResponse(f"The connector answered with status {status}, which is no final one.")
    kept, length = end_to_end(headers)
    if status == 204:
        length = None  # RFC 9110 8.6: none may be there
    fields = [(b":status", b"%d" % status), *_lowered(kept)]
    if length is not None:
        fields.append((b"content-length", b"%d" % length))
    return ResponseFields(
        fields,
        length,
        has_body=method != "HEAD" and status not in (204, 304),
        ends_grpc=any(name == b"grpc-status" for name, _ in fields),
    )


def trailer_block(trailers: Headers) -> Headers:
    """Return trailer fields as they end a stream."""
    return _lowered(trailer_fields(trailers))


def error_answer(fault: BadRequest, *, ray: str, grpc: bool, head_only: bool) -> tuple[Headers, bytes]:
    """Return the header block and the body that tell of a fault; to gRPC in trailers alone, which its clients read."""
    if grpc:
        code = _REFUSALS.get(fault.status, UNAVAILABLE if fault.status >= 500 or fault.status == 408 else INTERNAL)
        fields = [
            (b":status", b"200"),
            (b"content-type", b"application/grpc"),
            (b"grpc-status", b"%d" % code),
            (b"grpc-message", quote(fault.reason[:MAX_REASON], safe=_UNQUOTED).encode("ascii")),
        ]
        return fields, b""
    page_fields, body = error_page(fault.status, fault.reason, ray=ray)
    return [(b":status", b"%d" % fault.status), *_lowered(page_fields)], b"" if head_only else body


def own_fields(answer: Answer, ray: str) -> Headers:
    """Return the header block of an answer that Access gives."""
    return [(b":status", b"%d" % answer.status), *_lowered(answer.all_fields(ray))]


def _lowered(fields: Headers) -> Headers:
    return [(name.lower(), value.strip(b" \t")) for name, value in fields]
