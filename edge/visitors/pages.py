"""The few responses that the edge gives by itself: error pages with one sentence, complete with their heads."""

from __future__ import annotations

import html
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyconnector.edge.access.answers import Answer

#: Statuses that the real edge made up, beside the registered ones.
_OWN_PHRASES = {524: "A Timeout Occurred", 530: "Origin Unreachable"}
_PHRASES = {status.value: status.phrase for status in HTTPStatus} | _OWN_PHRASES
_STATUS_LINES = {status: f"HTTP/1.1 {status} {phrase}\r\n".encode("ascii") for status, phrase in _PHRASES.items()}
#: Characters of a reason that a page shows.
MAX_REASON = 1000

MISDIRECTED = "This connection was opened for another name: its certificate does not speak for the host of the request."
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
OPTIONS_ANSWER = b"HTTP/1.1 204 No Content\r\nAllow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n\r\n"

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{status} {phrase}</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;margin:4em auto;max-width:40em;padding:0 1em}}</style></head>
<body><h1>{status} {phrase}</h1><p>{reason}</p>{ray}</body></html>
"""


def status_line(status: int) -> bytes:
    """Return the status line for a status, known or not."""
    return _STATUS_LINES.get(status) or b"HTTP/1.1 %d Unknown\r\n" % status


def error_response(
    status: int, reason: str, *, ray: str = "", keep_alive: bool = False, head_only: bool = False
) -> bytes:
    """Return a whole response that says what went wrong. `head_only` leaves the body out, as HEAD wants it."""
    fields, body = error_page(status, reason, ray=ray)
    if not keep_alive:
        fields.append((b"Connection", b"close"))
    head = b"%b%b\r\n" % (status_line(status), b"".join([b"%b: %b\r\n" % field for field in fields]))
    return head if head_only else head + body


def own_response(answer: Answer, ray: str, *, keep_alive: bool, head_only: bool) -> bytes:
    """Return a whole response that Access gives."""
    fields = answer.all_fields(ray)
    if not keep_alive:
        fields.append((b"Connection", b"close"))
    head = b"%b%b\r\n" % (status_line(answer.status), b"".join([b"%b: %b\r\n" % field for field in fields]))
    return head if head_only else head + answer.body


def error_page(status: int, reason: str, *, ray: str = "") -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Return the fields and the body of a page that says what went wrong."""
    body = _PAGE.format(
        status=status,
        phrase=html.escape(_PHRASES.get(status, "Error")),
        reason=html.escape(reason[:MAX_REASON]),
        ray=f"<p><small>Ray {html.escape(ray)}</small></p>" if ray else "",
    ).encode("utf-8", "replace")
    fields = [
        (b"Content-Type", b"text/html; charset=utf-8"),
        (b"Content-Length", b"%d" % len(body)),
        (b"Cache-Control", b"no-store"),
        (b"X-Content-Type-Options", b"nosniff"),
    ]
    if ray:
        fields.append((b"Cf-Ray", ray.encode("ascii")))
    return fields, body
