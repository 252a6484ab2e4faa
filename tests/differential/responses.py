# ruff: noqa: E501 - a corpus is a table, one case a line
"""Answers of origins, from the usual to the broken, each to a plain request of a visitor who keeps the bytes."""

from __future__ import annotations

from tests.differential.case import OK, Case, Origin

#: "hello " twenty times, as it was recorded: what Python makes of it depends on its version.
ZIPPED = bytes.fromhex("1f8b08000000000002 03cb48cdc9c957c8a03b09002ffaf84878000000")


def case(
    name: str, *answer: bytes, closes: bool = False, breaks: bool = False, method: str = "GET", fields: str = ""
) -> Case:
    sent = f"{method} / HTTP/1.1\r\nHost: {{host}}\r\n{fields}\r\n".encode()
    origin = Origin(answer=answer, closes=closes or breaks, breaks=breaks)
    return Case(name=f"r-{name}", sent=sent, origin=origin)


def ok(*fields: bytes, body: bytes = b"ok") -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 OK", *fields, b"Content-Length: %d" % len(body), b"", body])


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
RESPONSES = [
    case("ok", OK),
    case("no-reason", b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok"),
    case("no-reason-no-space", b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok"),
    case("own-reason", b"HTTP/1.1 404 Gone Fishing\r\nContent-Length: 2\r\n\r\nok"),
    *[case(f"status-{status}", b"HTTP/1.1 %d X\r\nX-A: 1\r\nContent-Length: 2\r\n\r\nok" % status)
      for status in (201, 206, 299, 301, 302, 400, 401, 404, 418, 429, 500, 502, 503, 530, 599, 600, 999)],
    case("status-99", b"HTTP/1.1 99 X\r\nContent-Length: 2\r\n\r\nok", closes=True),
    case("status-1000", b"HTTP/1.1 1000 X\r\nContent-Length: 2\r\n\r\nok", closes=True),
    case("204", b"HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n"),
    case("204-length-0", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"),
    case("205", b"HTTP/1.1 205 Reset\r\nContent-Length: 0\r\n\r\n"),
    case("304", b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n"),
    case("304-length", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n"),
    case("length-0", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    case("head", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nX-A: 1\r\n\r\n", method="HEAD"),
    case("head-chunked", CHUNKED, method="HEAD"),
    case("head-bare", b"HTTP/1.1 200 OK\r\n\r\n", method="HEAD"),
    case("100", b"HTTP/1.1 100 Continue\r\n\r\n", OK),
    case("103", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", OK),
    case("many-1xx", b"HTTP/1.1 102 Processing\r\n\r\n" * 4 + OK),
    case("101-unasked", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", closes=True),
    case("chunked", CHUNKED + b"2\r\nok\r\n", b"3\r\nay!\r\n", b"0\r\n\r\n"),
    case("chunked-upper-case", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    case("chunked-empty", CHUNKED + b"0\r\n\r\n"),
    case("chunked-extension", CHUNKED + b"2;x=y\r\nok\r\n0;z\r\n\r\n"),
    case("chunked-hex", CHUNKED + b"00A\r\n0123456789\r\n0\r\n\r\n"),
    case("trailers", b"HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n"),
    case("trailers-wanted", b"HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n",
         fields="TE: trailers\r\n"),
    case("trailers-unannounced", CHUNKED + b"2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n"),
    case("until-close", b"HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\nall of it", closes=True),
    case("until-close-said", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it", closes=True),
    case("until-close-empty", b"HTTP/1.1 200 OK\r\n\r\n", closes=True),
    case("http-1.0", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", closes=True),
    case("http-1.0-until-close", b"HTTP/1.0 200 OK\r\n\r\nok", closes=True),
    case("http-1.0-keep-alive", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"),
    case("large", ok(body=b"0123456789" * 50_000)),
    case("large-chunked", CHUNKED + b"".join(b"2710\r\n%b\r\n" % (b"0123456789" * 1000) for _ in range(30)) + b"0\r\n\r\n"),
    case("duplicates", ok(b"X-A: 1", b"X-B: 2", b"x-a: 3", b"X-A: 1")),
    case("cookies", ok(b"Set-Cookie: a=1; Path=/", b"Set-Cookie: b=2", b"set-cookie: c=3")),
    case("odd-names", ok(b"x-lower: 1", b"X_Under: 2", b"1st: 3", b"X.Dot: 4", b"ETAG: 5", b"WWW-Authenticate: Basic")),
    case("empty-values", ok(b"X-Empty:", b"X-Spaces:   ")),
    case("spaces", ok(b"X-Space:a  b\tc", b"X-Around: \t a \t ")),
    case("bytes", ok(b"X-Bytes: \xff\x80\xe9", b"X-Utf8: \xc3\xbc")),
    case("long-value", ok(b"X-Long: " + b"v" * 30_000)),
    case("many-fields", ok(*[b"X-Field-%d: %d" % (n, n) for n in range(150)])),
    case("hop-by-hop", ok(b"Connection: X-Mine", b"X-Mine: 1", b"Keep-Alive: timeout=5", b"Proxy-Connection: x", b"Upgrade: h2c")),
    case("close", ok(b"Connection: close"), closes=True),
    case("close-and-more", ok(b"Connection: X-Mine, close", b"X-Mine: 1", b"Keep-Alive: x"), closes=True),
    case("keep-alive", ok(b"Connection: keep-alive", b"Keep-Alive: timeout=5")),
    case("proxy-authenticate", ok(b"Proxy-Authenticate: Basic")),
    case("internal", ok(b"Cf-Int-X: 1", b"Cf-Cloudflared-X: 2", b"Cf-Proxy-X: 3", b"Cf-Ray: 4", b"Cf-Cache-Status: 5")),
    case("server", ok(b"Server: x", b"Date: Sat, 01 Jan 2000 00:00:00 GMT", b"Via: 1.1 y", b"Alt-Svc: h3=\":443\"")),
    case("location", b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/x\r\nContent-Length: 0\r\n\r\n"),
    case("event-stream", b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n", b"data: 1\n\n", b"data: 2\n\n", closes=True),
    case("gzip", ok(b"Content-Encoding: gzip", body=ZIPPED)),
    case("gzip-wanted", ok(b"Content-Encoding: gzip", body=ZIPPED), fields="Accept-Encoding: gzip\r\n"),
    case("gzip-chunked", b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
         % (len(ZIPPED), ZIPPED)),
    case("gzip-head", b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 50\r\n\r\n", method="HEAD"),
    case("deflate", ok(b"Content-Encoding: deflate", body=b"x\x9c\x03\0\0\0\0\x01")),
    case("not-gzip", ok(b"Content-Encoding: gzip", body=b"this is no gzip")),
    # What no correct server sends.
    case("length-twice", ok(b"Content-Length: 2")),
    case("length-differs", ok(b"Content-Length: 3"), closes=True),
    case("length-plus", b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", closes=True),
    case("length-word", b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok", closes=True),
    case("length-list", b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok", closes=True),
    case("length-and-chunked", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", closes=True),
    case("gzip-coding", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", closes=True),
    case("identity-coding", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nok", closes=True),
    case("chunked-1.0", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", closes=True),
    case("body-short", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok", breaks=True),
    case("body-long", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more", closes=True),
    case("chunk-cut", CHUNKED + b"5\r\nok", breaks=True),
    case("chunk-without-end", CHUNKED + b"2\r\nok\r\n", breaks=True),
    case("chunk-nonsense", CHUNKED + b"zz\r\nok\r\n", breaks=True),
    case("chunk-size-padded", CHUNKED + b"2   \r\nok\r\n0  \r\n\r\n"),
    case("chunk-size-gap", CHUNKED + b"2 0\r\nok\r\n0\r\n\r\n", breaks=True),
    case("204-chunks", b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", closes=True),
    case("204-body", b"HTTP/1.1 204 No Content\r\n\r\nbody", closes=True),
    case("fold", b"HTTP/1.1 200 OK\r\nX-A: 1\r\n 2\r\nContent-Length: 2\r\n\r\nok", closes=True),
    case("line-feeds", b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", closes=True),
    case("line-feeds-in-chunks", CHUNKED + b"2\nok\r\n0\r\n\r\n", breaks=True),
    case("nul", b"HTTP/1.1 200 OK\r\nX-A: a\0b\r\nContent-Length: 2\r\n\r\nok", closes=True),
    case("control", b"HTTP/1.1 200 OK\r\nX-A: a\x01b\r\nContent-Length: 2\r\n\r\nok", closes=True),
    case("bare-cr", b"HTTP/1.1 200 OK\r\nX-A: a\rb\r\nContent-Length: 2\r\n\r\nok", closes=True),
    case("space-in-name", b"HTTP/1.1 200 OK\r\nX A: 1\r\nContent-Length: 2\r\n\r\nok", closes=True),
    case("space-before-colon", b"HTTP/1.1 200 OK\r\nX-A : 1\r\nContent-Length: 2\r\n\r\nok", closes=True),
    case("no-colon", b"HTTP/1.1 200 OK\r\nX-A\r\nContent-Length: 2\r\n\r\nok", closes=True),
    case("empty-name", b"HTTP/1.1 200 OK\r\n: 1\r\nContent-Length: 2\r\n\r\nok", closes=True),
    case("http-2.0", b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok", closes=True),
    case("nonsense", b"what?\r\n\r\n", closes=True),
    case("nothing", b"", closes=True),
    case("half-a-head", b"HTTP/1.1 200 OK\r\nX-A: 1\r\n", closes=True),
    case("huge-head", b"HTTP/1.1 200 OK\r\n" + b"X-A: %b\r\n" % (b"v" * 1000) * 1500 + b"\r\n", closes=True),
]  # fmt: skip
