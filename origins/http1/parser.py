"""Read what an origin answers (RFC 9112): llhttp through httptools, and our own rules where it is lenient.

Strict where two readers could differ; what is merely careless passes. No socket and no clock.
Large bodies pass by llhttp: once the head told their length, counting is all there is to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from pyconnector.origins.http1.mending import HeadMender

if TYPE_CHECKING:
    from pyconnector.origins.base import Headers

#: Bytes of a response's head, all interim responses before it included; also of a trailer section.
MAX_HEAD_BYTES = 256 * 1024
#: Bytes of one header line.
MAX_LINE_BYTES = 64 * 1024
#: Interim responses (1xx) before the final one.
MAX_INTERIM_RESPONSES = 32
#: Largest Content-Length.
MAX_LENGTH = (1 << 63) - 1

_FRAMING_NAMES = frozenset({b"content-length", b"transfer-encoding", b"trailer"})
# Only names of these sizes are looked at more closely.
_FRAMING_SIZES = frozenset(len(name) for name in _FRAMING_NAMES)
_NOT_IN_TRAILERS = frozenset({b"content-length", b"transfer-encoding", b"trailer", b"host", b"connection"})
_END = b"\r\n\r\n"
_UNTIL_CLOSE = -1


class BrokenResponse(Exception):
    """The origin sent what no correct server sends; caught by the connection, which then ends."""


class _Surplus(Exception):
    """Stops llhttp where a response is complete and data follows; caught in `_parse`."""


class ResponseParser:
    """One response at a time: `begin`, then `feed` until `complete`. After an error it is of no more use."""

    __slots__ = (
        "_after_head",
        "_cause",
        "_encodings",
        "_head_bytes",
        "_head_only",
        "_interim",
        "_kept",
        "_left",
        "_length",
        "_mender",
        "_parser",
        "_passing",
        "_spent",
        "_trailer_announced",
        "_upgrade",
        "body",
        "complete",
        "continued",
        "head_complete",
        "headers",
        "reusable",
        "status",
        "tail",
        "trailers",
        "upgraded",
    )

    def __init__(self) -> None:
        self._parser = self._new_parser()
        self._spent = False
        self.begin()

    def begin(self, *, head_only: bool = False, upgrade: bool = False) -> None:
        """Expect a new response: `head_only` to a HEAD request, `upgrade` where 101 is welcome."""
        if self._spent:
            self._parser = self._new_parser()
            self._spent = False
        self.status = 0
        self.headers: Headers = []
        self.trailers: Headers = []
        self.body: list[bytes] = []
        self.head_complete = False
        self.complete = False
        self.continued = False
        self.reusable = False
        self.upgraded = False
        self.tail = b""
        self._head_only = head_only
        self._upgrade = upgrade
        self._cause = ""
        self._head_bytes = 0
        self._after_head = 0
        self._interim = 0
        self._length: int | None = None
        self._encodings: list[bytes] = []
        self._trailer_announced = False
        self._passing = False
        self._left = 0
        self._kept: list[bytes] = []
        self._mender: HeadMender | None = None

    def _new_parser(self) -> HttpResponseParser:
        parser = HttpResponseParser(self)
        # Blanks between a chunk's size and the end of its line move no boundary, and small devices pad sizes with them.
        parser.set_dangerous_leniencies(lenient_spaces_after_chunk_size=True)
        return parser

    def feed(self, data: bytes) -> None:
        """Take in what arrived; afterwards `body` holds the pieces of body in it (the caller empties the list).

        Raises:
            BrokenResponse: its text says what is wrong.
        """
        was_complete = self.complete
        if was_complete:
            self.reusable = False  # surplus: see `_surplus`
            return
        if self._passing:
            self._pass(data)
            return
        in_head = not self.head_complete
        if in_head:
            if not self._head_bytes and data[0] != 0x48:  # llhttp would skip line ends and take RTSP/ and ICE/
                raise BrokenResponse("it does not begin with HTTP/1.")
            self._head_bytes += len(data)
            if self._mender is not None:
                data = self._mender.feed(data)
        self._parse(data)
        if self.complete:
            if not self.upgraded and not self._ends_cleanly(data):
                self.reusable = False
        elif self.head_complete:
            self._in_body(data)
        if in_head and self._head_bytes > MAX_LINE_BYTES:
            self._check_head_size()

    def feed_eof(self) -> None:
        """Take in that the origin ended the connection.

        Raises:
            BrokenResponse: that was before the response was whole.
        """
        if self._passing and self._left == _UNTIL_CLOSE:
            self.complete = True
        if not self.head_complete:
            raise BrokenResponse("it closed the connection within the head of its response")
        if not self.complete:
            raise BrokenResponse("it closed the connection within the body of its response")

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self.tail = data[upgrade.args[0] :]
        except HttpParserError as error:
            if self.complete:
                self._surplus()
            elif self.head_complete or self._cause or self._mender is not None:
                raise BrokenResponse(self._why(error)) from error
            else:
                self._look_again(data)
        else:
            if not self.head_complete and self._mender is None:
                self._kept.append(data)

    def _surplus(self) -> None:
        """What follows a complete response belongs to nothing, and is dropped with the connection (RFC 9112 9.2)."""
        self.reusable = False
        self._spent = True

    def _look_again(self, data: bytes) -> None:
        """Read the head again from its beginning, as `mending` has it; whoever writes so is asked only once."""
        wire = b"".join(self._kept) + data
        self._kept.clear()
        self.headers = []
        self.continued = False
        self._interim = 0
        self._length = None
        self._encodings.clear()
        self._trailer_announced = False
        self._mender = HeadMender()
        self._parser = self._new_parser()
        self._parser.set_dangerous_leniencies(lenient_optional_cr_before_lf=True)
        self._spent = True
        self._parse(self._mender.feed(wire))

    def _in_body(self, data: bytes) -> None:
        """The head is whole and the body is not: count by ourselves from here on, or bound what is not body."""
        if self._left:
            self._passing = self._spent = True
            if self._left != _UNTIL_CLOSE:
                self._left -= sum(map(len, self.body))
        elif self.body:
            self._after_head = 0
        else:
            self._after_head += len(data)
            if self._after_head > MAX_HEAD_BYTES:
                raise BrokenResponse(f"its chunk extensions or trailers are longer than {MAX_HEAD_BYTES} bytes")

    def _pass(self, data: bytes) -> None:
        if self._left == _UNTIL_CLOSE:
            self.body.append(data)
            return
        left = self._left = self._left - len(data)
        if left > 0:
            self.body.append(data)
            return
        self.complete = True
        if left == 0:
            self.body.append(data)
        else:
            self.body.append(data[:left])
            self._surplus()

    def _why(self, error: HttpParserError) -> str:
        if self._cause:
            return self._cause
        reason = str(error)
        return reason[:1].lower() + reason[1:]

    def _ends_cleanly(self, data: bytes) -> bool:
        """Whether nothing, not even a stray line end that llhttp skips, came after the response."""
        if self._length and self.body:
            return data.endswith(self.body[-1])
        if len(data) < len(_END):
            return _END.endswith(data)
        return data.endswith(_END) and not data.endswith(_END + b"\r\n")

    def _check_head_size(self) -> None:
        """Body bytes may have come with the head: once it is whole, only its own fields count."""
        if self.head_complete:
            sizes = [len(name) + len(value) + 4 for name, value in self.headers]
            if sizes and max(sizes) > MAX_LINE_BYTES:
                raise BrokenResponse(f"a header line is longer than {MAX_LINE_BYTES} bytes")
            too_long = sum(sizes) > MAX_HEAD_BYTES
        else:
            too_long = self._head_bytes > MAX_HEAD_BYTES
        if too_long:
            raise BrokenResponse(f"its head is longer than {MAX_HEAD_BYTES} bytes")

    def _broken(self, cause: str) -> BrokenResponse:
        self._cause = self._cause or cause
        return BrokenResponse(cause)

    # --- What llhttp calls. An exception in here ends `feed_data`; `_cause` keeps its words. ---

    def on_message_begin(self) -> None:
        """A response begins."""
        if self.complete:
            raise _Surplus

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header or trailer field is whole."""
        if self.head_complete:
            self._trailer(name, value)
        elif len(name) not in _FRAMING_SIZES or not self._is_framing(name, value):
            self.headers.append((name, value.rstrip(b" \t")))

    def _trailer(self, name: bytes, value: bytes) -> None:
        if self.complete:
            raise _Surplus
        if name.lower() not in _NOT_IN_TRAILERS:
            self.trailers.append((name, value.rstrip(b" \t")))

    def _is_framing(self, name: bytes, value: bytes) -> bool:
        """Note a field about the body's framing; True for one that is not handed on."""
        lowered = name.lower()
        if lowered == b"content-length":
            self._length = int(value)  # llhttp let only digits through
            if self._length > MAX_LENGTH:
                raise self._broken("its Content-Length is too large")
            return False
        if lowered == b"transfer-encoding":
            self._encodings.append(value.rstrip(b" \t"))
            return True
        if lowered == b"trailer":
            self._trailer_announced = True
        return False

    def on_headers_complete(self) -> None:
        """The head is whole."""
        parser = self._parser
        status = parser.get_status_code()
        version = parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise self._broken(f"it speaks HTTP/{version}")
        if status < 200:
            self._interim_head(status)
            if not self.upgraded:
                return
        self.status = status
        self.head_complete = True
        self.reusable = parser.should_keep_alive()
        if self._mender is not None:
            # Chunk lines keep their CRLF: there a bare LF is what two readers take differently.
            parser.set_dangerous_leniencies(lenient_optional_cr_before_lf=False)
        self._kept.clear()
        says_close = not self.reusable and self._says_close(version)
        if says_close and version == "1.1":
            # Said to us and settled here; the reference hands it on no further either.
            self.headers = [field for field in self.headers if field[0].lower() != b"connection"]
        encodings = self._encodings
        if encodings and (version == "1.0" or [value.lower() for value in encodings] != [b"chunked"]):
            raise self._broken("its Transfer-Encoding is not chunked alone, or not allowed in HTTP/1.0")
        if self._trailer_announced and encodings:
            self.headers = [field for field in self.headers if field[0].lower() != b"trailer"]
        has_content = bool(encodings or self._length)
        if self._head_only:
            self.complete = self._spent = True
            # Servers exist that send the content all the same, now or in a moment: it must not become an answer.
            self.reusable = not says_close and self._length == 0 and not encodings
        elif status in (204, 304):
            self.reusable = self.reusable and not has_content  # likewise
        elif not encodings and status != 101:
            self._left = _UNTIL_CLOSE if self._length is None else self._length
        if self._mender is not None:
            self.reusable = False

    def _interim_head(self, status: int) -> None:
        if status < 100:
            raise self._broken(f"its status is {status:03}")
        if status == 101:
            if not (self._upgrade and self._parser.should_upgrade()):
                raise self._broken("it switched to another protocol without being asked, or without saying which")
            self.upgraded = True
        elif status == 100:
            self.continued = True

    def _says_close(self, version: str) -> bool:
        tokens = {
            token.strip().lower()
            for name, value in self.headers
            if name.lower() == b"connection"
            for token in value.split(b",")
        }
        return b"close" in tokens or (version == "1.0" and b"keep-alive" not in tokens)

    def on_body(self, data: bytes) -> None:
        """A piece of body."""
        if self.complete:
            raise _Surplus
        self.body.append(data)

    def on_message_complete(self) -> None:
        """The response is whole."""
        if self.head_complete:
            self.complete = True
            self._left = 0
            if self._head_only:
                self._spent = False
            return
        self._interim += 1
        if self._interim > MAX_INTERIM_RESPONSES:
            raise self._broken(f"it sent more than {MAX_INTERIM_RESPONSES} interim responses")
        self.headers = []
        self._length = None
        self._encodings.clear()
        self._trailer_announced = False
