"""HTTP/1.1 requests of visitors, read strictly: what two readers could understand differently is refused.

Pure. `RequestReader` turns bytes into one `VisitorRequest` at a time and keeps what follows, from which
`edge.visitors.http1.request_body` takes the body. llhttp checks the tokens; framing is decided here (RFC 9112).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httptools

from pyconnector.web.header_names import HOP_BY_HOP, INTERNAL_PREFIXES

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Bytes of a request line with all its header fields.
MAX_HEAD_BYTES = 64 * 1024
#: Header fields of one request; each costs some 40 bytes beyond its own on the way to the connector.
MAX_FIELDS = 500
#: Empty lines before a request line, which RFC 9112 2.2 wants skipped: clients in the field send one.
MAX_EMPTY_LINES = 8

#: A host, perhaps with a port, in one spelling but for case, a final dot and the port; longer ones are no names of DNS.
HOST = re.compile(rb"(?=.{1,261}\Z)(?:[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)([^#]*)", re.IGNORECASE)
_BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")
_DIGITS = re.compile(rb"[0-9]{1,18}")

# Fields that concern this hop alone (RFC 9110 7.6.1), or that only the edge may say.
_HOP_BY_HOP = HOP_BY_HOP - {b"connection", b"upgrade", b"transfer-encoding"}  # these have their own handling
_EDGE_ONLY = frozenset((b"cf-connecting-ip", b"cf-ray", b"cf-trace-id"))
# Said by the edge too, where it says who visits: see `edge.visitors.identity`.
_FORWARDED = frozenset((b"x-forwarded-for", b"x-forwarded-proto"))
_SPECIAL = _HOP_BY_HOP | {b"host", b"connection", b"upgrade", b"content-length", b"transfer-encoding", b"expect"}
# A Connection field may not take these away from the far end (framing and identity are not a visitor's to drop).
_NEVER_NOMINATED = frozenset(
    (b"", b"close", b"keep-alive", b"upgrade", b"content-length", b"transfer-encoding", b"host")
)


class BadRequest(Exception):
    """A request that is answered with `status` and one sentence, after which its connection is closed."""

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


@dataclass(slots=True, kw_only=True)
class VisitorRequest:
    """A request head as it goes on: `headers` hold what is meant for the far end, in order, duplicates kept."""

    method: str
    target: bytes
    host: bytes
    headers: list[tuple[bytes, bytes]]
    body_length: int | None
    "0 for no body, None for a chunked one."
    websocket: bool
    keep_alive: bool
    expects_continue: bool
    version: str
    "1.0, 1.1 or 2."
    scheme: str = "http"
    "Of the connection that it came on."
    wants_trailers: bool = False
    "Whether it said `TE: trailers`: only then trailer fields reach it."


class RequestReader:
    """Take visitors' bytes and give request heads, one at a time.

    What follows a head stays in `leftover` until the caller took the body from it and asks for the next head. All of
    it is linear in the bytes, however small the pieces and the requests are.
    """

    __slots__ = ("_empty_lines", "_fields", "_parser", "_searched", "_url", "leftover")

    def __init__(self) -> None:
        self.leftover = bytearray()
        "Always the same object; taking from its front costs nothing that depends on what follows."
        self._searched = 0
        self._empty_lines = 0
        self._url = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._parser: httptools.HttpRequestParser | None = None

    # llhttp calls these. The whole head is fed at once, so each is called with whole values.
    def on_url(self, url: bytes) -> None:
        """Keep the request target."""
        self._url = url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep one field."""
        self._fields.append((name, value))

    def take_leftover(self) -> bytes:
        """Return what follows the last head, and keep nothing."""
        taken = bytes(self.leftover)
        self.leftover.clear()
        return taken

    def feed(self, data: bytes) -> None:
        """Add bytes that arrived."""
        self.leftover += data

    def next_request(self) -> VisitorRequest | None:
        """Return the next head once it is whole, else None.

        Raises:
            BadRequest: the bytes can never become a request that everyone reads alike.
        """
        head = self._take_head()
        if head is None:
            return None
        self._fields = []
        parser = self._parser or httptools.HttpRequestParser(self)
        self._parser = None
        try:
            parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            pass  # an upgrade or CONNECT: decided below, by our own rules
        except httptools.HttpParserInvalidMethodError:
            raise BadRequest("The method of the request is not known.", 501) from None
        except httptools.HttpParserError as exc:
            raise BadRequest(f"The request is malformed: {exc}.") from None
        request = self._request(parser)
        if request.body_length == 0 and request.keep_alive and not request.websocket:
            # Only then is the parser known to stand at the beginning of a message again.
            self._parser = parser
        return request

    @property
    def has_begun(self) -> bool:
        """Whether part of a head is here."""
        return bool(self.leftover)

    def _take_head(self) -> bytes | None:
        buffer = self.leftover
        while buffer.startswith(b"\r\n"):
            self._empty_lines += 1
            if self._empty_lines > MAX_EMPTY_LINES:
                raise BadRequest("Empty lines are no HTTP request.")
            del buffer[:2]
        end = buffer.find(b"\r\n\r\n", self._searched)
        if end < 0:
            self._check_beginning(buffer)
            return None
        end += 4
        if end > MAX_HEAD_BYTES:
            raise BadRequest("The header of the request is too large.", 431)
        if end == len(buffer):
            head = bytes(buffer)
            buffer.clear()
        else:
            with memoryview(buffer) as view:
                head = bytes(view[:end])
            del buffer[:end]
        self._searched = self._empty_lines = 0
        lines = head.count(b"\r\n")
        if head.count(b"\n") != lines or head.count(b"\r") != lines:
            raise BadRequest("A line of the request header does not end in carriage return and line feed.")
        if lines > MAX_FIELDS + 2:  # counted before anybody looks at each of them
            raise BadRequest("The request has too many header fields.", 431)
        return head

    def _check_beginning(self, buffer: bytearray) -> None:
        """Refuse what can no longer become a head, so that nobody waits for the rest of it."""
        if buffer and not buffer[:1].isalpha() and buffer != b"\r":
            raise BadRequest("This is no HTTP request.")
        if len(buffer) > MAX_HEAD_BYTES:
            raise BadRequest("The header of the request is too large.", 431)
        if _BARE_LINE_FEED.search(buffer, max(self._searched - 1, 0)):
            raise BadRequest("A line of the request header does not end in carriage return and line feed.")
        self._searched = max(len(buffer) - 3, 0)

    def _request(self, parser: httptools.HttpRequestParser) -> VisitorRequest:
        version = parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise BadRequest(f"HTTP version {version} is not served here.", 505)
        method: str = parser.get_method().decode("ascii")
        if method == "CONNECT":
            raise BadRequest("This is no forward proxy: CONNECT is not served here.", 405)
        special: dict[bytes, list[bytes]] = {}
        headers = end_to_end(self._fields, special)
        body_length = _framing(special, version)
        keep_alive, nominated, upgrades = _connection_options(special, version)
        if nominated:
            headers = [field for field in headers if field[0].lower() not in nominated]
        host, target = _address(self._url, special.get(b"host", []), method)
        websocket = upgrades and method == "GET" and body_length == 0 and version == "1.1"
        return VisitorRequest(
            method=method,
            target=target,
            host=host,
            headers=headers,
            body_length=body_length,
            websocket=websocket,
            keep_alive=keep_alive,
            expects_continue=expects_continue(special, version) and body_length != 0,
            version=version,
            wants_trailers=b"te" in special and version == "1.1" and not websocket and wants_trailers(special),
        )


def end_to_end(fields: Iterable[tuple[bytes, bytes]], special: dict[bytes, list[bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the fields meant for the far end; those that mean something here go into `special`, by lower-case name."""
    headers = []
    for name, value in fields:
        value = value.rstrip(b" \t")
        lower = name.lower()
        if lower in _SPECIAL:
            special.setdefault(lower, []).append(value)
        elif lower.startswith(b"cf-") and (lower in _EDGE_ONLY or lower.startswith(INTERNAL_PREFIXES)):
            continue
        elif b"_" in lower and _poses(lower.replace(b"_", b"-")):
            continue
        else:
            headers.append((name, value))
    return headers


def _poses(name: bytes) -> bool:
    """Whether a field whose `_` are written `-` would be one of those that framing and identity rest on.

    Services that read fields from CGI-like variables (RFC 3875 4.1.18, WSGI) cannot tell the two spellings apart.
    """
    return name in _SPECIAL or name in _FORWARDED or name in _EDGE_ONLY or name.startswith(INTERNAL_PREFIXES)


def wants_trailers(special: dict[bytes, list[bytes]]) -> bool:
    """Return whether TE fields say that trailer fields are welcome (RFC 9110 10.1.4)."""
    return any(
        coding.partition(b";")[0].strip().lower() == b"trailers"
        for value in special.get(b"te", ())
        for coding in value.split(b",")
    )


def _framing(special: dict[bytes, list[bytes]], version: str) -> int | None:
    """Return the length of the body (RFC 9112 6.1 to 6.3): 0 for none, None for chunked."""
    lengths = special.get(b"content-length")
    codings = special.get(b"transfer-encoding")
    if codings:
        if lengths:
            raise BadRequest("The request has both a Content-Length and a Transfer-Encoding.")
        if version == "1.0":
            raise BadRequest("A Transfer-Encoding needs HTTP/1.1.")
        if len(codings) != 1 or codings[0].lower() != b"chunked":
            raise BadRequest("The only Transfer-Encoding served here is chunked.", 501)
        return None
    if not lengths:
        return 0
    if len(lengths) != 1 or not _DIGITS.fullmatch(lengths[0]):
        raise BadRequest("The Content-Length of the request is not one number.")
    return int(lengths[0])


def _connection_options(special: dict[bytes, list[bytes]], version: str) -> tuple[bool, frozenset[bytes], bool]:
    """Return whether the connection stays open, which fields it names as its own, and whether it asks for WebSocket."""
    values = special.get(b"connection")
    if not values:
        return version == "1.1", frozenset(), False
    options = frozenset(option.strip().lower() for option in b",".join(values).split(b","))
    keep_alive = b"close" not in options and (version == "1.1" or b"keep-alive" in options)
    upgrades = b"upgrade" in options and any(
        protocol.strip().lower() == b"websocket" for protocol in b",".join(special.get(b"upgrade", [])).split(b",")
    )
    return keep_alive, options - _NEVER_NOMINATED, upgrades


def expects_continue(special: dict[bytes, list[bytes]], version: str) -> bool:
    """Return whether the visitor holds its body back until it is told to send it.

    Raises:
        BadRequest: it expects something else.
    """
    values = special.get(b"expect")
    if not values or version == "1.0":
        return False
    if len(values) != 1 or values[0].lower() != b"100-continue":
        raise BadRequest("The only expectation served here is 100-continue.", 417)
    return True


def _address(url: bytes, hosts: list[bytes], method: str) -> tuple[bytes, bytes]:
    """Return host and origin-form target (RFC 9112 3.2)."""
    if len(hosts) != 1:
        raise BadRequest("The request does not name its host exactly once.")
    host = hosts[0]
    if absolute := _ABSOLUTE.fullmatch(url):
        host, url = absolute.groups()  # RFC 9112 3.2.2: it wins over Host
        if url[:1] != b"/":
            url = b"/" + url
    if not HOST.fullmatch(host):
        raise BadRequest("The Host of the request is not the name of a host.")
    if url == b"*" and method == "OPTIONS":
        return host, url
    if url[:1] != b"/" or b"#" in url:
        raise BadRequest("The target of the request is not a path.")
    return host, url
