# ruff: noqa: E501 - a corpus is a table, one case a line
"""What a hostile or careless edge declares straight on a stream: framing, names, values, targets (wire.md 6)."""

from __future__ import annotations

from typing import Any

from pyconnector.protocol.streams.connect import ConnectionType
from tests.differential.case import KEY, SWITCHING, Origin, WireCase
from tests.differential.responses import RESPONSES

#: What a smuggler wants the origin to take for a request of its own.
SECOND = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
LENGTH, CODING = b"Content-Length", b"Transfer-Encoding"


def case(name: str, *fields: tuple[bytes, bytes], **more: Any) -> WireCase:
    metadata = tuple((b"HttpHeader:" + key, value) for key, value in fields)
    return WireCase(name=f"w-{name}", metadata=metadata + more.pop("pairs", ()), **more)


FRAMING = [
    case("length-and-chunked", (LENGTH, b"5"), (CODING, b"chunked"), body=b"0\r\n\r\n" + SECOND, races=True),
    case("chunked-and-length", (CODING, b"chunked"), (LENGTH, b"5"), body=b"0\r\n\r\n" + SECOND, races=True),
    case("lengths-differ", (LENGTH, b"5"), (LENGTH, b"50"), body=b"hello" + SECOND, races=True),
    case("lengths-equal", (LENGTH, b"5"), (LENGTH, b"5"), body=b"hello"),
    case("lengths-two-spellings", (LENGTH, b"5"), (b"content-length", b"50"), body=b"hello" + SECOND, races=True),
    case("length-0-then-body", (LENGTH, b"0"), body=SECOND),
    case("no-length-but-body", body=SECOND),
    case("body-longer", (LENGTH, b"5"), body=b"hello" + SECOND, method=b"POST", races=True),
    case("body-shorter", (LENGTH, b"50"), body=b"hello", method=b"POST", races=True),
    case("length-plus-longer", (LENGTH, b"+5"), body=b"hello" + SECOND, races=True),
    case("length-zeros-longer", (LENGTH, b"0005"), body=b"hello" + SECOND, races=True),
    *[case(f"length-{name}", (LENGTH, value), body=b"hello") for name, value in {
        "plus": b"+5", "minus": b"-5", "hex": b"0x5", "space-before": b" 5", "space-after": b"5 ", "tab": b"5\t", "list": b"5, 5",
        "word": b"five", "empty": b"", "zeros": b"0005", "float": b"5.0", "exponent": b"5e0", "underscore": b"5_0",
        "huge": b"99999999999999999999", "line": b"5\r\nX: y", "nul": b"5\0", "digits": "٥".encode(),
    }.items()],
    *[case(f"coding-{name}", (CODING, value), body=b"hello", method=b"POST") for name, value in {
        "upper-case": b"CHUNKED", "mixed": b"ChUnKeD", "space-before": b" chunked", "space-after": b"chunked ", "tab": b"\tchunked",
        "vertical-tab": b"\x0bchunked", "list": b"gzip, chunked", "twice-in-one": b"chunked, chunked", "xchunked": b"xchunked",
        "chunkedx": b"chunkedx", "identity": b"identity", "chunked-identity": b"chunked, identity", "quoted": b'"chunked"',
        "parameter": b"chunked;x=y", "empty": b"", "comma": b"chunked,", "line": b"chunked\r\nX: y", "nul": b"chunked\0",
    }.items()],
    case("coding-twice", (CODING, b"chunked"), (CODING, b"chunked"), body=b"hello", method=b"POST"),
    case("coding-identity-and-chunked", (CODING, b"identity"), (CODING, b"chunked"), body=b"hello", method=b"POST"),
    case("coding-lower-case-name", (b"transfer-encoding", b"chunked"), body=b"hello", method=b"POST"),
]  # fmt: skip
NAMES = [case(f"name-{name}", (value, b"a")) for name, value in {
    "empty": b"", "space": b"X A", "space-after": b"X-A ", "space-before": b" X-A", "colon": b"X:A", "pseudo": b":path", "nul": b"X\0A",
    "line": b"X\r\nY", "line-feed": b"X\nY", "cr": b"X\rY", "tab": b"X\tA", "utf8": "Xü".encode(), "delete": b"X\x7f",
    "quote": b'X"', "parenthesis": b"X(", "slash": b"X/Y", "framing-with-space": b"Content-Length ", "host": b"Host", "lower": b"x-a",
    "upper": b"X-LONG-NAME", "mixed": b"x-Long-nAME", "underscore": b"x_a", "token": b"!#$%&'*+-.^_`|~", "long": b"X" * 3000,
}.items()]  # fmt: skip
VALUES = [case(f"value-{name}", (b"X-A", value), (b"X-B", b"b")) for name, value in {
    "line": b"a\r\nX-C: c", "two-lines": b"a\r\n\r\n" + SECOND, "line-feed": b"a\nX-C: c", "cr": b"a\rX-C: c", "fold": b"a\r\n b",
    "fold-line-feed": b"a\n b", "nul": b"a\0b", "control": b"a\x01b", "escape": b"a\x1b[31m", "delete": b"a\x7fb", "tab": b"a\tb",
    "empty": b"", "space-around": b"  a  ", "bytes": b"\xff\xfe", "utf8": "ü".encode(), "long": b"v" * 200_000,
}.items()]  # fmt: skip
METHODS = [case(f"method-{name}", method=value) for name, value in {
    "none": None, "empty": b"", "space": b"GET /x HTTP/1.1", "line": b"GET\r\nX: y", "nul": b"GET\0", "utf8": "GÜT".encode(),
    "lower": b"get", "own": b"BREW", "token": b"A!B", "colon": b"GE:T", "connect": b"CONNECT", "long": b"M" * 2000,
}.items()] + [case("method-twice", method=b"GET", pairs=((b"HttpMethod", b"DELETE"),))]  # fmt: skip
HOSTS = [case(f"host-{name}", host=value, dest="http://w.test/") for name, value in {
    "none": None, "empty": b"", "line": b"a\r\nX: y", "space": b"a b", "slash": b"a/b", "at": b"u@a", "nul": b"a\0", "utf8": "ü".encode(),
    "port": b"a.test:81", "question": b"a?b", "comma": b"a,b", "quote": b'a"b', "percent": b"a%20b",
}.items()] + [case("host-twice", pairs=((b"HttpHost", b"second.test"),))]  # fmt: skip
TARGETS = [case(f"dest-{name}", dest=value) for name, value in {
    "plain": "http://{host}/a?b", "other-host": "http://elsewhere/a", "no-path": "http://{host}", "query-alone": "http://{host}?a",
    "path-alone": "/a/b", "no-slash": "a/b", "empty": "", "star": "*", "https": "https://{host}/a", "ftp": "ftp://{host}/a",
    "fragment": "http://{host}/a#b", "fragment-in-query": "http://{host}/?a#b", "userinfo": "http://u:p@{host}/a",
    "space": "http://{host}/a b", "space-version": "http://{host}/ HTTP/1.1", "line": "http://{host}/\r\nX: y",
    "line-feed": "http://{host}/\nX: y", "tab": "http://{host}/a\tb", "nul": "http://{host}/\0", "delete": "http://{host}/\x7f",
    "utf8": "http://{host}/ü", "bad-escape": "http://{host}/%zz", "bad-escape-query": "http://{host}/?%zz",
    "backslash": "http://{host}/a\\b", "double-slash": "http://{host}//evil/a", "dots": "http://{host}/a/../b", "no-scheme": "//{host}/a",
    "bad-port": "http://{host}:x/a", "bad-host": "http://a b/c", "semicolon": "http://{host}/a;b?c;d", "brackets": "http://{host}/[a]",
    "quote": 'http://{host}/"a"', "space-query": "http://{host}/?a b", "encoded": "http://{host}/%2F%2e%2E/", "upper": "HTTP://{host}/a",
}.items()]  # fmt: skip
HOP = [
    case("connection-close", (b"Connection", b"close")),
    case("connection-nominates", (b"Connection", b"X-A"), (b"X-A", b"1")),
    case("connection-upgrade", (b"Connection", b"Upgrade"), (b"Upgrade", b"h2c")),
    case("keep-alive", (b"Keep-Alive", b"timeout=5")),
    case("proxy-connection", (b"Proxy-Connection", b"keep-alive")),
    case("te", (b"Te", b"trailers")),
    case("trailer", (b"Trailer", b"X-A")),
    case("expect", (b"Expect", b"100-continue"), (LENGTH, b"5"), body=b"hello", method=b"POST"),
    case("expect-without-body", (b"Expect", b"100-continue")),
    case("trace", (b"Cf-Trace-Id", b"ec31ad8a01fde11fdcabe2efdce36873:52726f6cabc144f5:0:0")),
    case("internal-upgrade", (b"Cf-Cloudflared-Proxy-Connection-Upgrade", b"websocket")),
    case("user-agent-empty", (b"User-Agent", b"")),
    case("user-agent-twice", (b"User-Agent", b"a"), (b"User-Agent", b"b")),
    case("unknown-keys", pairs=((b"Nonsense", b"1"), (b"FlowID", b"x"))),
    case("header-key-with-more", pairs=((b"xHttpHeader:X-A", b"1"),)),
    case("header-key-without-name", pairs=((b"HttpHeader", b"1"),)),
    case("many-fields", (b"Accept-Encoding", b"br"), *[(b"X-%d" % n, b"v" * 100) for n in range(1200)]),
    case("post-without-body", method=b"POST"),
    case("post-length-0", (LENGTH, b"0"), method=b"POST"),
    case("put-chunked-empty", (CODING, b"chunked"), method=b"PUT"),
]
WEBSOCKET = [
    case(name, (b"Sec-Websocket-Key", KEY.encode()), *fields, kind=ConnectionType.WEBSOCKET, finish=False,
         origin=Origin(answer=(SWITCHING,), closes=True), **more)
    for name, fields, more in (
        ("ws", (), {}),
        ("ws-length", ((LENGTH, b"5"),), {}),
        ("ws-chunked", ((CODING, b"chunked"),), {}),
        ("ws-post", (), {"method": b"POST"}),
        ("ws-own-upgrade", ((b"Upgrade", b"h2c"), (b"Connection", b"close")), {}),
        ("ws-line", ((b"X-A", b"a\r\nX-B: b"),), {}),
    )
]  # fmt: skip

#: Each answer of an origin once more, to see it as the edge does, hop-by-hop fields and all.
ANSWERS = [
    WireCase(name=f"w-{answer.name}", metadata=(), method=b"HEAD" if answer.is_head else b"GET", origin=answer.origin)
    for answer in RESPONSES
]

WIRE_REQUESTS = [*FRAMING, *NAMES, *VALUES, *METHODS, *HOSTS, *TARGETS, *HOP, *WEBSOCKET, *ANSWERS]
