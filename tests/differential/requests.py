# ruff: noqa: E501 - a corpus is a table, one case a line
"""Requests of visitors, from the usual to the odd, each through the local edge to an origin that keeps the bytes."""

from __future__ import annotations

from tests.differential.case import KEY, OK, SWITCHING, Case, Origin


def case(name: str, line: str = "GET / HTTP/1.1", *fields: str, body: bytes = b"", **more: object) -> Case:
    """A case whose Host is that of its rule, unless a field says another."""
    host = () if any(field.lower().startswith("host:") for field in fields) else ("Host: {host}",)
    head = "\r\n".join([line, *host, *fields, "", ""]).encode("latin-1")
    return Case(name=name, sent=head + body, **more)  # type: ignore[arg-type]


UPGRADE = ("Connection: Upgrade", "Upgrade: websocket", f"Sec-WebSocket-Key: {KEY}", "Sec-WebSocket-Version: 13")
WS = Origin(answer=(SWITCHING + b"\x81\x02hi",), closes=True)
CLOSING = Origin(answer=(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1),), closes=True)


def chunked(*pieces: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + end


CHUNKED = "Transfer-Encoding: chunked"

METHODS = [
    case("get"),
    case("head", "HEAD /x HTTP/1.1", origin=Origin(answer=(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n",))),
    case("options", "OPTIONS /x HTTP/1.1"),
    case("options-star", "OPTIONS * HTTP/1.1"),
    case("trace", "TRACE /x HTTP/1.1"),
    case("propfind", "PROPFIND /x HTTP/1.1", "Depth: 1"),
    case("m-search", "M-SEARCH /x HTTP/1.1"),
    case("unknown-method", "BREW /pot HTTP/1.1"),
    case("lower-case-method", "get / HTTP/1.1"),
    case("connect", "CONNECT x.test:443 HTTP/1.1"),
    case("http-1.0", "GET /old HTTP/1.0"),
    case("http-1.0-keep-alive", "GET /old HTTP/1.0", "Connection: keep-alive"),
]
BODIES = [
    case("post", "POST / HTTP/1.1", "Content-Length: 5", body=b"hello"),
    case("post-without-body", "POST / HTTP/1.1"),
    case("post-length-0", "POST / HTTP/1.1", "Content-Length: 0"),
    case("put-without-body", "PUT / HTTP/1.1"),
    case("patch-without-body", "PATCH / HTTP/1.1"),
    case("delete-without-body", "DELETE / HTTP/1.1"),
    case("delete-length-0", "DELETE / HTTP/1.1", "Content-Length: 0"),
    case("delete-with-body", "DELETE / HTTP/1.1", "Content-Length: 2", body=b"{}"),
    case("get-with-body", "GET / HTTP/1.1", "Content-Length: 2", body=b"{}"),
    case("get-length-0", "GET / HTTP/1.1", "Content-Length: 0"),
    case("get-chunked", "GET / HTTP/1.1", CHUNKED, body=chunked(b"abc")),
    case("head-with-body", "HEAD / HTTP/1.1", "Content-Length: 2", body=b"{}"),
    case("chunked", "POST / HTTP/1.1", CHUNKED, body=chunked(b"one", b"two", b"x" * 5000)),
    case("chunked-upper-case", "POST / HTTP/1.1", "Transfer-Encoding: Chunked", body=chunked(b"one")),
    case("chunked-empty", "POST / HTTP/1.1", CHUNKED, body=chunked()),
    case("chunked-extension", "POST / HTTP/1.1", CHUNKED, body=b"3;a=b\r\none\r\n0\r\n\r\n"),
    case("chunked-trailer", "POST / HTTP/1.1", CHUNKED, "Trailer: X-Sum",
         body=chunked(b"one", end=b"0\r\nX-Sum: 1\r\n\r\n")),
    case("large-body", "PUT / HTTP/1.1", "Content-Length: 300000", body=b"0123456789" * 30_000),
    case("large-chunked", "POST / HTTP/1.1", CHUNKED, body=chunked(*[b"0123456789" * 1000] * 20)),
    case("expect", "POST / HTTP/1.1", "Expect: 100-continue", "Content-Length: 5", body=b"hello"),
    case("expect-without-body", "GET / HTTP/1.1", "Expect: 100-continue"),
    case("expect-nonsense", "GET / HTTP/1.1", "Expect: wonders"),
    case("form", "POST / HTTP/1.1", "Content-Type: application/x-www-form-urlencoded", "Content-Length: 7",
         body=b"a=1&b=2"),
]  # fmt: skip
TARGETS = [
    case(f"target-{name}", f"GET {target} HTTP/1.1")
    for name, target in {
        "slash": "/a%2Fb", "dots": "/a/../b/./c", "encoded-dots": "/a/%2e%2E/b", "double-slash": "//a//b/",
        "semicolon": "/a;v=1/b;c", "unicode": "/\xc3\xbc/\xe2\x98\x83", "escaped-unicode": "/%C3%BC", "latin-1": "/\xfc",
        "bad-escape": "/%zz%", "empty-query": "/?", "queries": "/??a&&=b=c&", "query-slash": "/?u=http://x/y?z",
        "encoded-query": "/?a=%20+%2B%00", "plus": "/a+b", "signs": "/!$&'()*+,;=:@-._~", "unwise": "/\"<>\\^`{|}",
        "brackets": "/a[1]/[x]?y[z]=1", "colon": "/a:b", "long": "/" + "x" * 4000, "long-query": "/?" + "x" * 4000,
        "nul": "/%00", "space": "/a%20b", "tilde": "/~user", "star": "/*", "dot-end": "/a/.", "dotdot": "/..",
        "asterisk-query": "/?*", "pipe": "/a|b?c|d", "absolute": "http://target-absolute.test/abs?x=1",
        "absolute-no-path": "http://target-absolute-no-path.test?x", "fragment": "/a#b",
        "backslash": "/a\\..\\b", "at": "/@user", "percent-2f-twice": "/%252F", "crlf-escaped": "/%0d%0aX:%20y",
    }.items()
]  # fmt: skip
FIELDS = [
    case("agent", "GET / HTTP/1.1", "User-Agent: curl/8"),
    case("agent-empty", "GET / HTTP/1.1", "User-Agent:"),
    case("agent-twice", "GET / HTTP/1.1", "User-Agent: a", "User-Agent: b"),
    case("accept-encoding", "GET / HTTP/1.1", "Accept-Encoding: br, gzip;q=0.5"),
    case("accept-encoding-empty", "GET / HTTP/1.1", "Accept-Encoding:"),
    case("accept-encoding-identity", "GET / HTTP/1.1", "Accept-Encoding: identity"),
    case("accept-encoding-twice", "GET / HTTP/1.1", "Accept-Encoding: gzip", "Accept-Encoding: br"),
    case("range", "GET / HTTP/1.1", "Range: bytes=0-99", "If-Range: \"x\""),
    case("conditional", "GET / HTTP/1.1", "If-None-Match: W/\"a\", \"b\"", "If-Modified-Since: Sat, 01 Jan 2000 00:00:00 GMT"),
    case("cookies", "GET / HTTP/1.1", "Cookie: a=1; b=2", "Cookie: c=\"3\""),
    case("authorization", "GET / HTTP/1.1", "Authorization: Basic YTpi"),
    case("duplicates", "GET / HTTP/1.1", "X-A: 1", "X-B: 2", "x-a: 3", "X-A: 1"),
    case("order", "GET / HTTP/1.1", "Z: 1", "A: 2", "M: 3", "Accept: */*"),
    case("case-of-names", "GET / HTTP/1.1", "x-lower: 1", "X-UPPER: 2", "x-MiXeD-cAse: 3", "ETag: 4", "DNT: 1", "X-SSL-ID: 5"),
    case("odd-names", "GET / HTTP/1.1", "X_Under: 1", "1st: 2", "X.Dot: 3", "!#$%&'*+-.^`|~: 4", "X--Y: 5", "-: 6", "X-: 7"),
    case("empty-values", "GET / HTTP/1.1", "X-Empty:", "X-Spaces:    "),
    case("inner-space", "GET / HTTP/1.1", "X-Space: a  b\tc", "X-Around: \t a \t "),
    case("bytes", "GET / HTTP/1.1", "X-Bytes: \xff\x80\xe9", "X-Utf8: \xc3\xbc"),
    case("long-value", "GET / HTTP/1.1", "X-Long: " + "v" * 30_000),
    case("many-fields", "GET / HTTP/1.1", "Accept-Encoding: br", *[f"X-Field-{n}: {n}" for n in range(150)]),
    case("forwarded", "GET / HTTP/1.1", "X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil",
         "X-Forwarded-Port: 1", "X-Real-Ip: 5.6.7.8", "Forwarded: for=1.2.3.4", "Via: 1.1 x", "True-Client-Ip: 9.9.9.9"),
    case("cloudflare", "GET / HTTP/1.1", "Cf-Ipcountry: XX", "Cf-Visitor: {\"scheme\":\"https\"}", "Cdn-Loop: x",
         "Cf-Access-Jwt-Assertion: a.b.c", "Cf-Access-Authenticated-User-Email: a@b", "Cf-Connecting-Ip: 1.1.1.1",
         "Cf-Warp-Tag-Id: mine", "Cf-Trace-Id: a:b:0:1", "Cf-Ray: mine"),
    case("trace-parent", "GET / HTTP/1.1", "Traceparent: 00-a-b-01", "Uber-Trace-Id: 1:2:0:1"),
    case("close", "GET / HTTP/1.1", "Connection: close"),
    case("keep-alive", "GET / HTTP/1.1", "Connection: keep-alive", "Keep-Alive: timeout=5", "Proxy-Connection: keep-alive"),
    case("nominated", "GET / HTTP/1.1", "Connection: X-Mine, close", "X-Mine: 1", "X-Other: 2"),
    case("te", "GET / HTTP/1.1", "TE: gzip"),
    case("te-trailers", "GET / HTTP/1.1", "TE: trailers", "Connection: TE"),
    case("trailer-field", "GET / HTTP/1.1", "Trailer: X-Sum"),
    case("upgrade-h2c", "GET / HTTP/1.1", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"),
    case("upgrade-insecure", "GET / HTTP/1.1", "Upgrade-Insecure-Requests: 1"),
    case("proxy-authorization", "GET / HTTP/1.1", "Proxy-Authorization: Basic YTpi"),
    case("idempotency", "POST / HTTP/1.1", "Idempotency-Key: 1", "Content-Length: 1", body=b"x"),
    case("content-type-without-body", "GET / HTTP/1.1", "Content-Type: text/plain", "Content-Encoding: gzip"),
    case("host-port", "GET / HTTP/1.1", "Host: {host}:8080"),
    case("host-upper-case", "GET / HTTP/1.1", "Host: ANY.Test", origin=CLOSING),
    case("host-ipv6", "GET / HTTP/1.1", "Host: [::1]:80", origin=CLOSING),
    case("host-dot", "GET / HTTP/1.1", "Host: any.test.", origin=CLOSING),
    case("host-underscore", "GET / HTTP/1.1", "Host: _dmarc.any.test", origin=CLOSING),
    case("origin-and-referer", "GET / HTTP/1.1", "Origin: null", "Referer: http://x/y#z"),
    case("http2-pseudo", "GET / HTTP/1.1", "Priority: u=1", "Sec-Fetch-Mode: navigate", "Early-Data: 1"),
]  # fmt: skip
SETTINGS = [
    case("host-header", "GET /x HTTP/1.1", "X-Forwarded-Host: visitor", settings={"httpHostHeader": "inner.test:81"}),
    case("no-chunked-length", "POST / HTTP/1.1", "Content-Length: 5", body=b"hello",
         settings={"disableChunkedEncoding": True}),
    case("no-chunked-empty", "GET / HTTP/1.1", settings={"disableChunkedEncoding": True}),
]  # fmt: skip
WEBSOCKETS = [
    case("ws", "GET /chat?x=1 HTTP/1.1", *UPGRADE, origin=WS),
    case("ws-more", "GET /chat HTTP/1.1", *UPGRADE, "Sec-WebSocket-Protocol: a, b", "Sec-WebSocket-Extensions: permessage-deflate",
         "Origin: http://x", "Cookie: a=1", "User-Agent: w", origin=WS),
    case("ws-version", "GET / HTTP/1.1", *UPGRADE[:3], "Sec-WebSocket-Version: 8", origin=WS),
    case("ws-lower-case", "GET / HTTP/1.1", "connection: keep-alive, upgrade", "upgrade: WebSocket",
         f"sec-websocket-key: {KEY}", origin=WS),
    case("ws-without-key", "GET / HTTP/1.1", "Connection: Upgrade", "Upgrade: websocket", origin=WS),
    case("ws-post", "POST / HTTP/1.1", *UPGRADE, "Content-Length: 2", body=b"xx"),
    case("ws-refused", "GET / HTTP/1.1", *UPGRADE, origin=Origin(answer=(b"HTTP/1.1 403 No\r\nContent-Length: 3\r\n\r\nno!",))),
    case("ws-200", "GET / HTTP/1.1", *UPGRADE),
    case("ws-frames", "GET / HTTP/1.1", *UPGRADE, then=b"\x81\x82\0\0\0\0hi", origin=Origin(answer=(SWITCHING, b"\x81\x02yo"))),
    case("ws-host-header", "GET / HTTP/1.1", *UPGRADE, origin=WS, settings={"httpHostHeader": "inner.test"}),
]  # fmt: skip
STREAM = Origin(answer=(b"welcome",), closes=True, is_stream=True)
STREAMS = [
    case("tcp", "GET / HTTP/1.1", *UPGRADE, then=b"\x82\x85\0\0\0\0hello", origin=STREAM),
    case("tcp-masked", "GET / HTTP/1.1", *UPGRADE, then=b"\x82\x83\x01\x02\x03\x04bcd", origin=STREAM),
    case(
        "tcp-text-then-binary", "GET / HTTP/1.1", *UPGRADE, then=b"\x81\x82\0\0\0\0no\x82\x82\0\0\0\0ok", origin=STREAM
    ),
    case("tcp-fragments", "GET / HTTP/1.1", *UPGRADE, then=b"\x02\x82\0\0\0\0he\x80\x83\0\0\0\0llo", origin=STREAM),
    case(
        "tcp-protocol",
        "GET / HTTP/1.1",
        *UPGRADE,
        "Sec-WebSocket-Protocol: x",
        then=b"\x82\x81\0\0\0\0x",
        origin=STREAM,
    ),
]

REQUESTS = [*METHODS, *BODIES, *TARGETS, *FIELDS, *SETTINGS, *WEBSOCKETS, *STREAMS]
