"""What the edge itself answers HTTP/2 visitors: pages, refusals, questions about the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from h2.errors import ErrorCodes

from tests.edge.support import memory_edge
from tests.support.peers.h2_visitor import H2Visitor, h2_visitor
from tests.support.peers.scripted_connector import echo

if TYPE_CHECKING:
    from pyconnector.edge import LocalEdge
from tests.edge.http2.support import failing, hello, scenario


async def test_faults_are_pages() -> None:
    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        answer = await visitor.ask()
        assert (answer.status, answer.field(b"content-type")) == (502, b"text/html; charset=utf-8")
        assert answer.field(b"content-length") == b"%d" % len(answer.body)
        assert answer.field(b"cf-ray")
        assert "100% refused &lt;ä&gt;".encode() in answer.body
        head = await visitor.ask(method=b"HEAD")
        assert (head.status, bytes(head.body), head.ended) == (502, b"", True)

    await scenario(failing, play)


async def test_faults_are_told_to_grpc_in_its_own_way() -> None:
    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        for kind in (b"application/grpc", b"application/grpc+proto"):
            answer = await visitor.ask((b"content-type", kind), (b"te", b"trailers"), method=b"POST", body=b"12345")
            assert (answer.status, answer.ended, bytes(answer.body)) == (200, True, b"")
            assert answer.field(b"content-type") == b"application/grpc"
            assert answer.field(b"grpc-status") == b"14"
            assert answer.field(b"grpc-message") == b"dial tcp: 100%25 refused <%C3%A4>"
        refused = await visitor.ask((b"content-type", b"application/grpc"), path=b"no/path")
        assert refused.field(b"grpc-status") == b"13"

    await scenario(failing, play)


async def test_without_a_connector_there_is_530() -> None:
    async with memory_edge() as edge, await h2_visitor(edge.visitor_address) as visitor:
        assert (await visitor.ask()).status == 530
        answer = await visitor.ask((b"content-type", b"application/grpc"), method=b"POST")
        assert answer.field(b"grpc-status") == b"14"
        assert answer.field(b"grpc-message") == b"No tunnel is connected for this host."
        posted = visitor.open(method=b"POST", end=False)
        answer = await visitor.answer(posted)
        await visitor.until(lambda: answer.reset is not None)
        assert (answer.status, answer.ended, answer.reset) == (530, True, ErrorCodes.NO_ERROR)


@pytest.mark.parametrize(
    ("pseudo", "more", "status"),
    [
        ({"path": b"no/slash"}, [], 400),
        ({"path": b"/a#b"}, [], 400),
        ({"path": b"/a b"}, [], 400),
        ({"path": b"/\xc3\xa4"}, [], 400),
        ({"path": b"*"}, [], 400),
        ({"method": b"G(T"}, [], 400),
        ({"method": b"CONNECT"}, [], 0),
        ({"scheme": b"ftp"}, [], 400),
        ({"authority": b"a/b"}, [], 400),
        ({"authority": b"user@a"}, [], 400),
        ({}, [(b"a\x80", b"1")], 0),
        ({}, [(b"a(b", b"1")], 400),
        ({}, [(b"a", b"1\x012")], 400),
        ({}, [(b"expect", b"something")], 417),
        ({}, [(b"x", b"1")] * 501, 431),
        ({}, [(b"host", b"other.test")], 0),
        ({}, [(b"a", b"1\r\nb: 2")], 0),
        ({}, [(b"a", b"1\x002")], 0),
        ({}, [(b"Upper", b"1")], 0),
        ({}, [(b"connection", b"close")], 0),
        ({}, [(b"transfer-encoding", b"chunked")], 0),
        ({}, [(b"te", b"gzip")], 0),
        ({}, [(b":path", b"/twice")], 0),
        ({}, [(b"content-length", b"5")], 400),
        ({}, [(b"content-length", b"0"), (b"content-length", b"0")], 400),
    ],
)
async def test_requests_that_could_be_misread_are_refused(
    pseudo: dict[str, bytes | None], more: list[tuple[bytes, bytes]], status: int
) -> None:
    """Status 0 stands for a reset of the stream, where the request is malformed (RFC 9113 8.1.1)."""

    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        visitor.h2.config.normalize_outbound_headers = False
        stream_id = visitor.open(*more, pseudo=pseudo)
        answer = await visitor.answer(stream_id)
        if status:
            assert answer.status == status
        else:
            assert (answer.fields, answer.reset) == ([], ErrorCodes.PROTOCOL_ERROR)
        assert (await visitor.ask()).status == 200
        assert not visitor.lost

    exchanges = await scenario(hello, play)
    assert len(exchanges) == 1


async def test_a_host_field_stands_in_for_the_authority() -> None:
    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        stream_id = visitor.open((b"host", b"in.field"), pseudo={"authority": None})
        assert (await visitor.answer(stream_id)).status == 200
        assert (await visitor.ask((b"host", b"app.test"))).status == 200

    first, second = await scenario(hello, play)
    assert (first.value("HttpHost"), second.value("HttpHost")) == ("in.field", "app.test")
    assert first.headers("Host") == []


async def test_this_is_no_forward_proxy() -> None:
    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        answer = await visitor.ask(pseudo={"method": b"CONNECT", "scheme": None, "path": None})
        assert answer.status == 405

    assert await scenario(hello, play) == []


async def test_questions_about_the_server_itself() -> None:
    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        answer = await visitor.ask(method=b"OPTIONS", path=b"*")
        assert answer.status == 204
        assert answer.field(b"allow")

    assert await scenario(hello, play) == []


async def test_a_visitor_that_asks_first_is_told_to_go_on() -> None:
    async def play(visitor: H2Visitor, edge: LocalEdge) -> None:
        stream_id = visitor.open((b"expect", b"100-continue"), method=b"POST", end=False)
        log = visitor.streams[stream_id]
        await visitor.until(lambda: log.informational == [100])
        await visitor.send(stream_id, b"body", end=True)
        assert bytes((await visitor.answer(stream_id)).body) == b"body"

    (exchange,) = await scenario(echo, play)
    assert exchange.headers("Expect") == []
