from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyconnector.origins.http1 import parser as module
from pyconnector.origins.http1.parser import BrokenResponse, ResponseParser
from tests.origins.corpus import BROKEN, CHUNKED, CUT_SHORT, HI, OK, SLOPPY


@dataclass
class Read:
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    trailers: list[tuple[bytes, bytes]]
    reusable: bool
    tail: bytes = b""


def read(pieces: list[bytes], *, method: str = "GET", upgrade: bool = False, eof: bool = False) -> Read:
    parser = ResponseParser()
    return read_with(parser, pieces, method=method, upgrade=upgrade, eof=eof)


def read_with(
    parser: ResponseParser, pieces: list[bytes], *, method: str = "GET", upgrade: bool = False, eof: bool = False
) -> Read:
    parser.begin(head_only=method == "HEAD", upgrade=upgrade)
    body = b""
    tail = b""
    for piece in pieces:
        if parser.upgraded:
            tail += piece
            continue
        assert not parser.complete, "complete too early"
        parser.feed(piece)
        body += b"".join(parser.body)
        parser.body.clear()
    if eof:
        parser.feed_eof()
    assert parser.complete
    return Read(parser.status, parser.headers, body, parser.trailers, parser.reusable, parser.tail + tail)


def every_split(wire: bytes) -> list[list[bytes]]:
    splits = [[wire], [wire[at : at + 1] for at in range(len(wire))]]
    splits += [[wire[:at], wire[at:]] for at in range(1, len(wire))]
    return splits


LENGTH_2 = [(b"Content-Length", b"2")]
#: wire, method, end of file, what comes out
GOOD: list[tuple[bytes, str, bool, Read]] = [
    (OK + HI, "GET", False, Read(200, LENGTH_2, b"hi", [], True)),
    (b"HTTP/1.1 200\r\n" + HI, "GET", False, Read(200, LENGTH_2, b"hi", [], True)),
    (b"HTTP/1.1 999 \r\n" + HI, "GET", False, Read(999, LENGTH_2, b"hi", [], True)),
    (OK + b"Content-Length: 0\r\n\r\n", "GET", False, Read(200, [(b"Content-Length", b"0")], b"", [], True)),
    (b"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n", "GET", False, Read(204, [(b"X-A", b"b")], b"", [], True)),
    (
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 900\r\n\r\n",
        "GET",
        False,
        Read(304, [(b"Content-Length", b"900")], b"", [], False),
    ),
    (b"HTTP/1.1 304 N\r\n\r\n", "GET", False, Read(304, [], b"", [], True)),
    (b"HTTP/1.1 304 N\r\nTransfer-Encoding: chunked\r\n\r\n", "GET", False, Read(304, [], b"", [], False)),
    (OK + b"Content-Length: 0\r\n\r\n", "HEAD", False, Read(200, [(b"Content-Length", b"0")], b"", [], True)),
    (OK + b"Content-Length: 2\r\n\r\n", "HEAD", False, Read(200, LENGTH_2, b"", [], False)),
    (OK + b"\r\n", "HEAD", False, Read(200, [], b"", [], False)),
    (CHUNKED, "HEAD", False, Read(200, [], b"", [], False)),
    (OK + b"Connection: x, Close\r\n\r\n", "HEAD", False, Read(200, [], b"", [], False)),
    (b"HTTP/1.0 200 OK\r\n\r\n", "HEAD", False, Read(200, [], b"", [], False)),
    (
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
        "HEAD",
        False,
        Read(200, [(b"Connection", b"keep-alive"), (b"Content-Length", b"0")], b"", [], True),
    ),
    (CHUNKED + b"2\r\nhi\r\n0\r\n\r\n", "GET", False, Read(200, [], b"hi", [], True)),
    (CHUNKED + b'1;a=b\r\nh\r\n001;b="q"\r\ni\r\n0;end\r\n\r\n', "GET", False, Read(200, [], b"hi", [], True)),
    (CHUNKED + b"2 \r\nhi\r\n0  \t\r\n\r\n", "GET", False, Read(200, [], b"hi", [], True)),
    (CHUNKED + b"2  ;a=b\r\nhi\r\n0\r\n\r\n", "GET", False, Read(200, [], b"hi", [], True)),
    (CHUNKED + b"0\r\n\r\n", "GET", False, Read(200, [], b"", [], True)),
    (
        OK + b"TRANSFER-ENCODING: Chunked\r\nTrailer: X-T\r\n\r\n2\r\nhi\r\n0\r\nX-T: 1 \r\nX-T: 2\r\n\r\n",
        "GET",
        False,
        Read(200, [], b"hi", [(b"X-T", b"1"), (b"X-T", b"2")], True),
    ),
    (
        CHUNKED + b"0\r\nTransfer-Encoding: chunked\r\nHost: evil\r\nX-T: ok\r\n\r\n",
        "GET",
        False,
        Read(200, [], b"", [(b"X-T", b"ok")], True),
    ),
    (OK + b"Trailer: X-T\r\n" + HI, "GET", False, Read(200, [(b"Trailer", b"X-T"), *LENGTH_2], b"hi", [], True)),
    (OK + b"\r\nhi", "GET", True, Read(200, [], b"hi", [], False)),
    (OK + b"\r\n", "GET", True, Read(200, [], b"", [], False)),
    (b"HTTP/1.0 200 OK\r\n" + HI, "GET", False, Read(200, LENGTH_2, b"hi", [], False)),
    (
        OK + b"Connection: close\r\n" + HI,
        "GET",
        False,
        Read(200, LENGTH_2, b"hi", [], False),
    ),
    (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + HI, "GET", False, Read(200, LENGTH_2, b"hi", [], True)),
    (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 3 + OK + b"\r\n",
        "HEAD",
        False,
        Read(200, [], b"", [], False),
    ),
    (
        OK + b"X-A: 1\r\nx-a:2\r\nX-B:\t \xfcber \t\r\nX-C:\r\nX-A: 1\r\n" + HI,
        "GET",
        False,
        Read(
            200,
            [(b"X-A", b"1"), (b"x-a", b"2"), (b"X-B", b"\xfcber"), (b"X-C", b""), (b"X-A", b"1"), *LENGTH_2],
            b"hi",
            [],
            True,
        ),
    ),
    (
        OK + b"Connection: Upgrade\r\nUpgrade: h2\r\n" + HI,
        "GET",
        False,
        Read(200, [(b"Connection", b"Upgrade"), (b"Upgrade", b"h2"), *LENGTH_2], b"hi", [], True),
    ),
]


@pytest.mark.parametrize(("wire", "method", "eof", "wanted"), GOOD)
def test_a_response_is_read_the_same_however_it_is_cut(wire: bytes, method: str, eof: bool, wanted: Read) -> None:
    for pieces in every_split(wire):
        assert read(pieces, method=method, eof=eof) == wanted, pieces


def test_an_upgrade_keeps_what_follows_its_head() -> None:
    wire = b"HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x02hi"
    headers = [(b"Upgrade", b"websocket"), (b"Connection", b"Upgrade")]
    for pieces in every_split(wire):
        result = read(pieces, upgrade=True)
        assert (result.status, result.headers, result.tail) == (101, headers, b"\x81\x02hi"), pieces


def test_other_answers_to_an_upgrade_are_ordinary() -> None:
    assert read([OK + HI], upgrade=True) == Read(200, LENGTH_2, b"hi", [], True)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_response_is_refused_however_it_is_cut(name: str) -> None:
    method, wire = BROKEN[name]
    step = max(1, len(wire) // 50)
    cuts = [[wire], [wire[at : at + step] for at in range(0, len(wire), step)]]
    cuts += [[wire[:at], wire[at:]] for at in range(1, len(wire), step)]
    for pieces in cuts:
        parser = ResponseParser()
        parser.begin(head_only=method == "HEAD")
        with pytest.raises(BrokenResponse) as caught:  # noqa: PT012
            for piece in pieces:
                if parser.complete:
                    raise BrokenResponse("data on a free connection")  # where the connection would close
                parser.feed(piece)
            parser.feed_eof()
        sentence = str(caught.value)
        assert sentence
        assert sentence.isprintable()
        assert "callback" not in sentence, pieces
        assert sum(map(len, parser.body)) < 10


@pytest.mark.parametrize("name", CUT_SHORT)
def test_an_early_end_is_told_from_a_late_one(name: str) -> None:
    for pieces in every_split(CUT_SHORT[name]):
        parser = ResponseParser()
        for piece in pieces:
            parser.feed(piece)
        with pytest.raises(BrokenResponse, match="closed the connection within"):
            parser.feed_eof()


def test_one_parser_reads_response_after_response() -> None:
    parser = ResponseParser()
    for _ in range(2):
        for wire, method, eof, wanted in GOOD:
            if eof or not wanted.reusable:
                continue
            for pieces in ([wire], [wire[:14], wire[14:]]):
                assert read_with(parser, pieces, method=method) == wanted


def test_a_large_body_is_handed_on_without_copies() -> None:
    parser = ResponseParser()
    parser.feed(OK + b"Content-Length: 200001\r\n\r\nx")
    piece = bytes(100_000)
    parser.body.clear()
    parser.feed(piece)
    assert parser.body[0] is piece
    parser.feed(piece)
    assert parser.body[1] is piece
    assert parser.complete
    assert parser.reusable


@pytest.mark.parametrize("surplus", [b"!", b"\r\n", OK])
def test_data_after_a_large_body_is_dropped_with_its_connection(surplus: bytes) -> None:
    parser = ResponseParser()
    parser.feed(OK + b"Content-Length: 4\r\n\r\nx")
    parser.feed(b"yyy" + surplus)
    assert parser.complete
    assert not parser.reusable
    assert b"".join(parser.body) == b"xyyy"


@pytest.mark.parametrize("name", SLOPPY)
def test_a_careless_response_is_read_the_same_however_it_is_cut(name: str) -> None:
    method, wire, status, body = SLOPPY[name]
    for pieces in every_split(wire):
        parser = ResponseParser()
        parser.begin(head_only=method == "HEAD")
        for piece in pieces:
            parser.feed(piece)  # the connection is not used again, so that whatever still comes is dropped
        assert parser.complete, pieces
        assert (parser.status, b"".join(parser.body), parser.trailers) == (status, body, []), pieces
        assert not parser.reusable or len(pieces) > 1, pieces
        assert [name.lower() for name, _ in parser.headers].count(b"content-length") <= 1, pieces


@pytest.mark.parametrize("name", SLOPPY)
def test_what_is_announced_and_may_not_come_ends_the_connection(name: str) -> None:
    """Cut between head and surplus: the response is complete and clean, and yet more may follow."""
    method, wire, status, _ = SLOPPY[name]
    if method == "HEAD" or status in (204, 304):
        head, end, surplus = wire.partition(b"\r\n\r\n")
        parser = ResponseParser()
        parser.begin(head_only=method == "HEAD")
        parser.feed(head + end)
        assert parser.complete
        assert not parser.reusable or not surplus or b":" not in head
        parser.feed(surplus or b"!")
        assert not parser.reusable


def test_an_upgrade_with_bare_lf_keeps_what_follows_its_head() -> None:
    wire = b"HTTP/1.1 101 Go\nUpgrade: websocket\nConnection: Upgrade\n\n\x81\x02hi"
    for pieces in every_split(wire):
        assert read(pieces, upgrade=True).tail == b"\x81\x02hi", pieces


def test_a_length_that_no_file_has_is_refused_at_once() -> None:
    with pytest.raises(BrokenResponse, match="its Content-Length is too large"):
        ResponseParser().feed(OK + b"Content-Length: 9223372036854775808\r\n\r\n")


def test_a_head_just_below_the_bounds_passes() -> None:
    line = b"X-A: " + b"a" * (module.MAX_LINE_BYTES - 7) + b"\r\n"
    assert len(read([OK + line * 3 + HI]).headers) == 4
    assert read([OK + b"X: " + b"a" * 60_000 + b"\r\nContent-Length: 300000\r\n\r\n" + b"b" * 300_000]).reusable


@given(st.binary(max_size=200), st.lists(st.integers(1, 200), max_size=5))
def test_no_bytes_raise_anything_but_a_broken_response(noise: bytes, cuts: list[int]) -> None:
    for prefix in (b"", b"HTTP/1.1 ", OK, CHUNKED, OK + HI):
        wire = prefix + noise
        edges = [0, *sorted(cut for cut in cuts if cut < len(wire)), len(wire)]
        parser = ResponseParser()
        with contextlib.suppress(BrokenResponse):
            for begin, end in itertools.pairwise(edges):
                if end > begin and not parser.complete:
                    parser.feed(wire[begin:end])
            parser.feed_eof()
