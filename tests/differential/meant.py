"""The differences that are meant, case by case, each with the row of docs/parity.md that gives its reason."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.differential.case import Case, WireCase
from tests.differential.messages import shown
from tests.differential.responses import ZIPPED

if TYPE_CHECKING:
    from tests.differential.compare import Result

#: Where in a result something is.
Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Meant:
    """What we do in place of what the genuine connector does. What is not said here is as there."""

    row: str
    "The beginning of the row."
    refused: bool = False
    "The request reaches no origin and is answered with an error."
    failed: bool = False
    "The answer of the origin is; its visitor gets an error."
    changes: Mapping[Path, Any] = field(default_factory=dict)

    def ours(self, case: Case | WireCase, genuine: Result) -> Result:
        """What we do where `genuine` is what the other does."""
        result = copy.deepcopy(genuine)
        if self.refused:
            result["origin"] = []
        if self.refused or self.failed:
            visited = {"line": "HTTP/1.1 502 Bad Gateway", "page": "of the edge"}
            result["got"] = {"error": True} if isinstance(case, WireCase) else visited
        for (*parents, last), value in self.changes.items():
            at: Any = result
            for key in parents:
                at = at[key]
            at[last] = value
        return result


def _line(row: str, line: str) -> Meant:
    return Meant(row, changes={("origin", 0, "requests", 0, "line"): f"{line} HTTP/1.1"})


def _served(row: str, name: str, target: str, *, wire: bool) -> Meant:
    """A plain GET that the genuine connector does not serve."""
    fields = [["Cf-Warp-Tag-Id", "<uuid>"], ["Connection", "keep-alive"], ["Host", f"{name}.test"]]
    got: Result = {"fields": [["Content-Length", "2"]], "body": "ok"}
    if wire:
        got["status"] = 200
    else:
        got["line"] = "HTTP/1.1 200 OK"
        fields = [["Cf-Connecting-Ip", "127.0.0.1"], ["Cf-Ray", "<ray>"], *fields]
        fields += [["X-Forwarded-For", "127.0.0.1"], ["X-Forwarded-Proto", "http"]]
    request = {"line": f"GET {target} HTTP/1.1", "fields": fields}
    return Meant(row, changes={("origin",): [{"requests": [request]}], ("got",): got})


def _each(names: Iterable[str], meant: Meant) -> dict[str, Meant]:
    return dict.fromkeys(names, meant)


_TARGET = "a path with characters that no URL may hold is escaped anew"
_ESCAPE = "a target with a broken escape"
_AUTHORITY = "the authority of `dest` is parsed"
_HOST = "a Host that no host has goes out empty"
_NO_LENGTH = "a Content-Length below 0 is chunked, an empty one is none"
_CODING = "any transfer coding that contains `chunked`"
_KEY = "any key with `HttpHeader` in it is a header"
_ANSWER = "answers that two readers could read differently are taken"
_GZIP = "`Accept-Encoding: gzip` added, the answer unzipped on the way"
_CLOSE_FRAME = "no Close frame at the end"
_TRAILERS = "trailers are lost over QUIC"
_SWITCH = "a 101 that nobody asked for"

_ZIPPED = Meant(_GZIP, changes={
    ("got", "fields"): [["Content-Encoding", "gzip"], ["Content-Length", str(len(ZIPPED))]],
    ("got", "body"): shown(ZIPPED),
})  # fmt: skip


def _chunked_zipped(*framing: list[str]) -> Meant:
    fields = [["Content-Encoding", "gzip"], *framing]
    return Meant(_GZIP, changes={("got", "fields"): fields, ("got", "body"): shown(ZIPPED)})


def _not_gzip(head: tuple[str, Any]) -> Meant:
    fields = [["Content-Encoding", "gzip"], ["Content-Length", "15"]]
    got = {head[0]: head[1], "fields": fields, "body": "this is no gzip"}
    return Meant(_GZIP, changes={("got",): got})


_REFUSED_ANSWERS = [
    "length-and-chunked", "chunked-1.0", "fold", "http-2.0",
]  # fmt: skip
_BAD_CODINGS = [
    "list", "twice-in-one", "xchunked", "chunkedx", "identity", "chunked-identity", "quoted", "parameter", "empty",
    "comma", "twice", "identity-and-chunked",
]  # fmt: skip

_BAD_HOSTS = ["line", "space", "slash", "at", "nul", "question", "quote"]

#: Every meant difference, by the name of its case.
MEANT: dict[str, Meant] = {
    **{f"target-{name}": _line(_TARGET, f"GET {target}") for name, target in {
        "unwise": "/\"<>\\^`{|}", "pipe": "/a|b?c|d", "backslash": "/a\\..\\b",
    }.items()},
    "w-dest-utf8": _line(_TARGET, "GET /\xc3\xbc"),
    "w-dest-backslash": _line(_TARGET, "GET /a\\b"),
    "w-dest-quote": _line(_TARGET, 'GET /"a"'),
    "w-dest-space-query": _line("a space in the query goes out as it is", "GET /?a%20b"),
    "w-dest-no-slash": Meant("a `dest` without a slash goes out as it is", refused=True),
    "target-bad-escape": _served(_ESCAPE, "target-bad-escape", "/%zz%", wire=False),
    "w-dest-bad-escape": _served(_ESCAPE, "w-dest-bad-escape", "/%zz", wire=True),
    "w-dest-bad-port": _served(_AUTHORITY, "w-dest-bad-port", "/a", wire=True),
    "w-dest-bad-host": _served(_AUTHORITY, "w-dest-bad-host", "/c", wire=True),
    **_each((f"w-host-{name}" for name in _BAD_HOSTS), Meant(_HOST, refused=True)),
    "w-host-utf8": Meant("a Host beyond ASCII is written in punycode", changes={
        ("origin", 0, "requests", 0, "fields", 2, 1): "\xc3\xbc",
    }),
    "w-length-plus": Meant("a Content-Length of `+5` is 5", refused=True),
    "w-length-minus": Meant(_NO_LENGTH, refused=True),
    "w-length-empty": Meant(_NO_LENGTH, refused=True),
    **_each((f"w-coding-{name}" for name in _BAD_CODINGS), Meant(_CODING, refused=True)),
    "w-header-key-with-more": Meant(_KEY, refused=True),
    **_each((f"{prefix}-{name}" for prefix in ("r", "w-r") for name in _REFUSED_ANSWERS), Meant(_ANSWER, failed=True)),
    "w-r-space-in-name": Meant(_ANSWER, failed=True),
    "w-r-space-before-colon": Meant(_ANSWER, failed=True),
    "w-r-101-unasked": Meant(_SWITCH, failed=True),
    "r-gzip": _ZIPPED,
    "w-r-gzip": _ZIPPED,
    "w-r-gzip-wanted": _ZIPPED,
    "r-gzip-chunked": _chunked_zipped(["Transfer-Encoding", "chunked"]),
    "w-r-gzip-chunked": _chunked_zipped(),
    "r-not-gzip": _not_gzip(("line", "HTTP/1.1 200 OK")),
    "w-r-not-gzip": _not_gzip(("status", 200)),
    "r-trailers-wanted": Meant(_TRAILERS, changes={("got", "trailers"): [["X-Sum", "1"]]}),
    **_each(
        ("tcp", "tcp-masked", "tcp-text-then-binary", "tcp-fragments", "tcp-protocol"),
        Meant(_CLOSE_FRAME, changes={("got", "then"): "\x82\x07welcome\x88\x02\x03\xe8"}),
    ),
}  # fmt: skip
