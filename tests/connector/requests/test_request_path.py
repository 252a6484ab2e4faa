from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from pyconnector.connector.active.routes import Route
from pyconnector.connector.link.quic import data_streams
from pyconnector.connector.requests import running
from pyconnector.connector.requests.guards import LocalAccess
from pyconnector.ingress import parse_ingress
from pyconnector.origins.base import ByteReader, Origin, OriginError, OriginRequest, OriginResponse, RequestKind
from pyconnector.origins.layers.base import Gate, Layer, Rejection
from pyconnector.origins.layers.compose import compose
from pyconnector.protocol.streams.connect import ConnectionType
from pyconnector.protocol.streams.openings import encode_rpc_opening
from pyconnector.transport.buffers.stream import BufferedStream
from pyconnector.transport.errors import StreamReset
from tests.connector.fakes import Answer, FakeOrigin, FakeResponse, PathUnderTest, opening, read_answer

if TYPE_CHECKING:
    from pyconnector.ingress import Rule
    from pyconnector.transport.seam import Stream

pytestmark = pytest.mark.usefixtures("virtual_time")


async def read_body(body: ByteReader) -> bytes:
    data = b""
    while piece := await body.receive():
        data += piece
    return data


async def aborted(stream: Stream) -> bool:
    """Whether the connector reset the stream, whatever it had sent before."""
    try:
        async with asyncio.timeout(5):
            while await stream.receive():
                pass
    except StreamReset:
        return True
    return False


async def test_a_request_reaches_its_origin_and_the_answer_comes_back() -> None:
    answer = FakeResponse(b"hello", status=203, headers=[(b"X-A", b"1"), (b"X-A", b"2")])
    under = PathUnderTest(FakeOrigin(lambda request, body: _later(answer)))
    found = await under.ask(method=b"DELETE", headers=[(b"X-Req", b"v")])
    assert (found.status, found.body, found.error) == (203, b"hello", "")
    request = under.origin.requests[0]  # type: ignore[attr-defined]
    assert (request.kind, request.method, request.target) == (RequestKind.HTTP, "DELETE", "/path?q=1")
    assert (request.host, request.body_length) == ("app.example", 0)
    await under.settled()
    assert answer.finished
    assert under.counters.responses[203] == 1


async def _later(response: OriginResponse) -> OriginResponse:
    return response


async def test_headers_pass_in_order_with_ours_appended_and_the_trace_taken_out() -> None:
    origin = FakeOrigin()
    under = PathUnderTest(origin)
    await under.ask(
        headers=[
            (b"B", b"1"), (b"A", b"2"), (b"B", b"3"), (b"cf-trace-id", b"a:b:0:1"),
            (b"Cf-Cloudflared-Proxy-Connection-Upgrade", b"websocket"), (b"Content-Length", b"0"),
        ]
    )  # fmt: skip
    assert origin.requests[0].headers == [
        (b"B", b"1"), (b"A", b"2"), (b"B", b"3"), (b"Cf-Warp-Tag-Room", b"attic"), (b"Cf-Warp-Tag-Id", b"me"),
    ]  # fmt: skip


async def test_bodies_for_one_rule_are_read_for_the_same_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    readers: list[object] = []
    monkeypatch.setattr(BufferedStream, "read_for", lambda stream, reader: readers.append(reader))

    under = PathUnderTest()
    await under.ask()  # without a body: nothing to read
    for _ in range(2):
        await under.ask(b"x", headers=[(b"Content-Length", b"1")])
    assert len(readers) == 2
    assert readers[0] is readers[1]


async def test_a_body_that_came_with_the_opening_and_one_that_came_later_are_both_read() -> None:
    bodies: list[bytes] = []

    async def serve(request: OriginRequest, body: ByteReader) -> OriginResponse:
        bodies.append(await read_body(body))
        return FakeResponse(status=204)

    under = PathUnderTest(FakeOrigin(serve))
    stream = await under.open(opening(headers=[(b"Content-Length", b"10")]) + b"first", finish=False)
    await asyncio.sleep(0.1)
    stream.send_nowait(b"later", finish=True)
    assert (await read_answer(stream)).status == 204
    assert bodies == [b"firstlater"]


async def test_an_opening_in_single_bytes_is_understood() -> None:
    under = PathUnderTest()
    stream = await under.edge.open_stream()
    for byte in opening():
        stream.send_nowait(bytes([byte]))
        await asyncio.sleep(0)
    stream.finish()
    assert (await read_answer(stream)).body == b"hello"


async def test_a_small_request_needs_no_timer_and_one_task() -> None:
    origin = FakeOrigin()
    under = PathUnderTest(origin)
    loop = asyncio.get_running_loop()
    before = len(asyncio.all_tasks())
    seen: list[int] = []

    async def serve(request: OriginRequest, body: ByteReader) -> OriginResponse:
        seen.append(len(asyncio.all_tasks()) - before)
        seen.append(len(loop._scheduled))  # type: ignore[attr-defined]
        return FakeResponse(b"x")

    origin._serve = serve
    stream = await under.open(opening())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert seen == [1, 0]
    assert (await stream.receive()).endswith(b"x")


async def test_a_websocket_keeps_its_body_open_and_its_kind() -> None:
    answer = FakeResponse(status=101)
    answer.open = True
    origin = FakeOrigin(lambda request, body: _later(answer))
    under = PathUnderTest(origin)
    stream = await under.open(opening(ConnectionType.WEBSOCKET), finish=False)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert origin.requests[0].kind is RequestKind.WEBSOCKET
    assert origin.requests[0].body_length is None
    answer.feed(b"frame")
    answer.end()
    found = await read_answer(stream)
    assert (found.status, found.body) == (101, b"frame")
    await under.settled()
    assert under.counters.responses == {}


async def test_an_origin_that_fails_is_an_error_answer_with_the_reason() -> None:
    async def serve(request: OriginRequest, body: ByteReader) -> OriginResponse:
        raise OriginError("connection refused by 127.0.0.1:1")

    under = PathUnderTest(FakeOrigin(serve))
    found = await under.ask()
    assert found.error == "connection refused by 127.0.0.1:1"
    assert found.metadata == {}
    assert under.counters.request_errors == 1


async def test_an_unusual_status_of_an_origin_failure_is_told_to_an_edge_that_looks() -> None:
    async def serve(request: OriginRequest, body: ByteReader) -> OriginResponse:
        raise OriginError("no destination was given", status=400)

    found = await PathUnderTest(FakeOrigin(serve)).ask()
    assert (found.error, found.status) == ("no destination was given", 400)


async def test_an_origin_that_breaks_off_in_mid_body_resets_the_stream() -> None:
    answer = FakeResponse(b"part")
    answer.open = True
    under = PathUnderTest(FakeOrigin(lambda request, body: _later(answer)))
    stream = await under.open(opening())
    assert (await stream.receive()).endswith(b"part")
    answer.end(OriginError("it went away"))
    assert await aborted(stream)
    await under.settled()
    assert answer.aborted


@pytest.mark.parametrize(
    ("metadata", "sentence"),
    [
        ({"headers": [(b"X", b"a\r\nInjected: b")]}, "control"),
        ({"headers": [(b"X\nY", b"a")]}, ""),
        ({"headers": [(b"Content-Length", b"ten")]}, "Content-Length"),
        ({"method": b"GE T"}, "method"),
        ({"headers": [(b"Content-Length", b"1"), (b"Transfer-Encoding", b"chunked")]}, "Transfer-Encoding"),
    ],
)
async def test_a_malformed_request_gets_a_400_and_never_reaches_an_origin(
    metadata: dict[str, Any], sentence: str
) -> None:
    origin = FakeOrigin()
    found = await PathUnderTest(origin).ask(**metadata)
    assert found.status == 400
    assert sentence in found.error
    assert origin.requests == []


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"\x00", opening()[:20], b""])
async def test_a_stream_that_is_none_is_reset_and_the_others_live_on(data: bytes) -> None:
    under = PathUnderTest()
    stream = await under.open(data)
    assert await aborted(stream)
    assert (await under.ask()).body == b"hello"


async def test_an_opening_that_never_completes_is_given_up() -> None:
    under = PathUnderTest()
    stream = await under.open(opening()[:30], finish=False)
    started = asyncio.get_running_loop().time()
    with pytest.raises(StreamReset):
        await stream.receive()
    assert asyncio.get_running_loop().time() - started == pytest.approx(data_streams.OPENING_TIMEOUT)
    await under.settled()


async def test_incomplete_openings_together_hold_no_more_than_their_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_streams, "MAX_OPENING_BACKLOG", 100)

    under = PathUnderTest()
    part = opening()[:40]
    held = [await under.open(part, finish=False) for _ in range(2)]
    await asyncio.sleep(0.1)
    last = await under.open(part, finish=False)
    await asyncio.sleep(0.1)
    last.send_nowait(b"\x00")
    with pytest.raises(StreamReset):
        await last.receive()
    for stream in held:
        stream.send_nowait(opening()[40:], finish=True)
        assert (await read_answer(stream)).body == b"hello"
    assert under.streams._opening_backlog == 0


async def test_streams_beyond_the_bound_are_answered_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "MAX_REQUESTS", 3)

    release = asyncio.Event()

    async def serve(request: OriginRequest, body: ByteReader) -> OriginResponse:
        await release.wait()
        return FakeResponse(b"late")

    under = PathUnderTest(FakeOrigin(serve))
    held = [await under.open(opening()) for _ in range(3)]
    await asyncio.sleep(0)
    refused = await under.ask()
    assert "already serves 3 streams" in refused.error
    assert under.counters.streams_refused == 1
    release.set()
    assert [(await read_answer(stream)).body for stream in held] == [b"late"] * 3


async def test_a_visitor_who_leaves_cancels_the_origin_at_once() -> None:
    never = asyncio.Event()
    origin = FakeOrigin(lambda request, body: _wait(never))
    under = PathUnderTest(origin)
    stream = await under.open(opening(), finish=False)
    await asyncio.sleep(0.01)
    assert len(origin.requests) == 1
    started = asyncio.get_running_loop().time()
    stream.reset()
    stream.stop()
    await under.settled()
    assert origin.cancelled == 1
    assert asyncio.get_running_loop().time() - started < 0.1
    assert under.counters.concurrent_requests == 0


async def _wait(event: asyncio.Event) -> OriginResponse:
    await event.wait()
    raise AssertionError


async def test_a_visitor_who_leaves_in_mid_body_aborts_the_response() -> None:
    answer = FakeResponse(b"part")
    answer.open = True
    under = PathUnderTest(FakeOrigin(lambda request, body: _later(answer)))
    stream = await under.open(opening())
    await stream.receive()
    stream.stop()
    await under.settled()
    assert answer.aborted


async def test_a_lost_connection_cancels_every_origin() -> None:
    never = asyncio.Event()
    origin = FakeOrigin(lambda request, body: _wait(never))
    under = PathUnderTest(origin)
    for _ in range(5):
        await under.open(opening(), finish=False)
    await asyncio.sleep(0.01)
    under.edge.close()
    await under.settled()
    assert origin.cancelled == 5


async def test_an_early_answer_stops_the_rest_of_the_upload() -> None:
    under = PathUnderTest(FakeOrigin(lambda request, body: _later(FakeResponse(b"no", status=413))))
    stream = await under.open(opening(method=b"POST", headers=[(b"Content-Length", b"1000")]) + b"x", finish=False)
    assert (await read_answer(stream)).status == 413
    await under.settled()
    with pytest.raises(StreamReset):
        stream.send_nowait(b"more")


async def test_a_head_too_large_for_the_edge_is_an_error_answer() -> None:
    answer = FakeResponse(b"x", headers=[(b"X-%d" % number, b"v" * 8000) for number in range(140)])
    under = PathUnderTest(FakeOrigin(lambda request, body: _later(answer)))
    found = await under.ask()
    assert "cannot be carried" in found.error
    assert answer.aborted


async def test_a_defect_in_an_origin_resets_its_stream_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "pyconnector"):

        async def serve(request: OriginRequest, body: ByteReader) -> OriginResponse:
            raise ZeroDivisionError("a defect")

        under = PathUnderTest(FakeOrigin(serve))
        stream = await under.open(opening())
        assert await aborted(stream)
        await under.settled()
    assert "ZeroDivisionError" in caplog.text


# -- layers --------------------------------------------------------------------------------------------------------


def gate(rejection: Rejection | None, seen: list[str], *, enforces: str = "access") -> Layer:
    """A layer that notes whose requests it is asked about, and refuses them if told so."""

    class Noting(Gate):
        async def admit(self, request: OriginRequest) -> None:
            seen.append(request.host)
            if rejection is not None:
                raise rejection

    Noting.enforces = frozenset({enforces})
    return Noting


async def test_a_gate_that_refuses_answers_in_place_of_the_origin() -> None:
    origin = FakeOrigin()
    seen: list[str] = []
    refusal = Rejection(status=403, reason="no token", headers=[(b"X", b"y")], body=b"no")
    under = PathUnderTest(origin, layers=(gate(refusal, seen),))
    found = await under.ask()
    assert (found.status, found.body, found.metadata[b"HttpHeader:X"]) == (403, b"no", b"y")
    assert origin.requests == []
    assert seen == ["app.example"]
    assert under.counters.request_errors == 1
    assert under.counters.responses == {}


async def test_the_first_layer_is_the_outermost() -> None:
    first: list[str] = []
    second: list[str] = []
    refusing = gate(Rejection(status=403, reason="no"), second)
    assert (await PathUnderTest(layers=(gate(None, first), gate(None, second))).ask()).body == b"hello"
    assert (len(first), len(second)) == (1, 1)
    assert (await PathUnderTest(layers=(refusing, gate(None, first))).ask()).status == 403
    assert (len(first), len(second)) == (1, 2)


async def test_a_gate_that_fails_refuses() -> None:
    class Broken(Gate):
        async def admit(self, request: OriginRequest) -> None:
            raise RuntimeError("the key endpoint is down")

    origin = FakeOrigin()
    under = PathUnderTest(origin, layers=(Broken,))
    stream = await under.open(opening())
    assert await aborted(stream)
    assert origin.requests == []


# -- private network, RPC ------------------------------------------------------------------------------------------


async def test_a_tcp_stream_goes_to_its_address_and_is_acknowledged_before_data() -> None:
    answer = FakeResponse()
    answer.open = True
    private = FakeOrigin(lambda request, body: _later(answer))
    under = PathUnderTest(private=private)
    stream = await under.open(opening(ConnectionType.TCP, dest="10.0.0.1:22"), finish=False)
    first = await stream.receive()
    assert first.startswith(bytes.fromhex("0a36cd12a13e3031"))
    assert private.requests[0].destination == "10.0.0.1:22"
    assert (under.counters.tcp_active, under.orchestrator.limiter.active) == (1, 1)
    answer.feed(b"SSH-2.0")
    assert await stream.receive() == b"SSH-2.0"
    answer.end()
    assert await stream.receive() == b""
    await under.settled()
    assert (under.counters.tcp_active, under.counters.tcp_total, under.orchestrator.limiter.active) == (0, 1, 0)


async def test_a_service_that_breaks_off_resets_its_tcp_stream_and_puts_no_words_of_ours_into_it() -> None:
    answer = FakeResponse(b"SSH-2.0")
    answer.open = True
    under = PathUnderTest(private=FakeOrigin(lambda request, body: _later(answer)))
    stream = await under.open(opening(ConnectionType.TCP, dest="10.0.0.1:22"), finish=False)
    received = await stream.receive()
    answer.end(OriginError("it broke the connection off"))
    with pytest.raises(StreamReset):
        received += await stream.receive()
    await under.settled()
    assert b"broke" not in received
    assert answer.aborted
    assert (under.counters.request_errors, under.counters.connect_errors) == (1, 0)


async def test_a_flow_beyond_the_limit_is_refused_as_such() -> None:
    under = PathUnderTest()
    under.orchestrator.limiter.limit = 1
    under.orchestrator.limiter.acquire()
    found = await under.ask(kind=ConnectionType.TCP, dest="10.0.0.1:22")
    assert "too many active flows" in found.error
    assert found.metadata == {b"FlowConnectRateLimited": b"true"}
    assert under.counters.flows_limited == 1
    assert under.orchestrator.limiter.active == 1


async def test_a_failed_dial_gives_its_place_in_the_limit_back() -> None:
    async def serve(request: OriginRequest, body: ByteReader) -> OriginResponse:
        raise OriginError("no route to 10.0.0.1")

    under = PathUnderTest(private=FakeOrigin(serve))
    found = await under.ask(kind=ConnectionType.TCP, dest="10.0.0.1:22")
    assert found.error.endswith("no route to 10.0.0.1")
    await under.settled()
    assert under.orchestrator.limiter.active == 0
    assert under.counters.connect_errors == 1


async def test_the_time_to_connect_a_stream_service_is_measured() -> None:
    async def serve(request: OriginRequest, body: ByteReader) -> OriginResponse:
        await asyncio.sleep(0.02)
        return FakeResponse(status=101)

    under = PathUnderTest(FakeOrigin(serve), service="tcp://localhost:1")
    await under.ask()
    assert dict(under.counters.connect_latency_ms.cumulative())["25"] == 1


async def test_an_rpc_stream_is_handed_on_with_what_follows_its_signature() -> None:
    under = PathUnderTest()
    stream = await under.open(encode_rpc_opening() + b"rpc bytes")
    assert await stream.receive() == b""
    assert under.rpc == [b"rpc bytes"]


# -- ends ----------------------------------------------------------------------------------------------------------


async def test_idle_means_nothing_served_and_nothing_new_for_a_moment() -> None:
    release = asyncio.Event()

    async def serve(request: OriginRequest, body: ByteReader) -> OriginResponse:
        await release.wait()
        return FakeResponse(b"x")

    under = PathUnderTest(FakeOrigin(serve))
    await under.open(opening())
    await asyncio.sleep(0)
    idle = asyncio.create_task(under.streams.running.wait_idle())
    await asyncio.sleep(10)
    assert not idle.done()
    release.set()
    started = asyncio.get_running_loop().time()
    await idle
    assert asyncio.get_running_loop().time() - started == pytest.approx(running.IDLE_LINGER)


async def test_aborting_everything_leaves_no_task() -> None:
    never = asyncio.Event()
    under = PathUnderTest(FakeOrigin(lambda request, body: _wait(never)))
    streams = [await under.open(opening(), finish=False) for _ in range(3)]
    await asyncio.sleep(0.01)
    before = under.streams.running.active
    await under.streams.running.abort_all()
    assert (before, under.streams.running.active) == (3, 0)
    assert [await aborted(stream) for stream in streams] == [True] * 3


async def test_ten_thousand_abandoned_streams_leave_nothing_behind() -> None:
    under = PathUnderTest()
    for _ in range(100):
        for _ in range(100):
            stream = await under.edge.open_stream()
            stream.send_nowait(b"\x0a")
            stream.reset()
            stream.stop()
        await asyncio.sleep(0)
    await under.settled()
    assert under.streams._opening_backlog == 0
    assert not under.connection.streams
    assert isinstance(await under.ask(), Answer)


async def test_the_rule_that_a_path_may_be_taken_for_has_a_say(caplog: pytest.LogCaptureFixture) -> None:
    refusal = Rejection(status=403, reason="access refused: no token")
    asked: list[str] = []
    others: list[str] = []

    under = PathUnderTest()
    access = {"access": {"required": True, "teamName": "example", "audTag": ["a"]}}
    rules = parse_ingress(
        {
            "ingress": [
                {
                    "hostname": "app.example",
                    "path": "^/admin",
                    "service": "http://localhost:1",
                    "originRequest": access,
                },
                {"service": "http://localhost:1"},
            ]
        }
    )
    inner = FakeOrigin()
    layers = (gate(refusal, others, enforces="colour"), gate(refusal, asked))
    guarded = compose(inner, rules.rules[0], layers)
    under.orchestrator.routes.ingress = rules
    under.orchestrator.routes.routes = (
        Route(rules.rules[0], guarded.origin, guarded.access),
        Route(rules.rules[1], under.origin, index=1),
    )
    assert (await under.ask(dest="http://app.example//admin")).status == 403
    assert (asked, others) == (["app.example"], [])
    assert (await under.ask(dest="http://app.example/open")).status == 200
    assert (len(asked), inner.requests) == (1, [])
    assert "access refused: no token (the path may be taken for one of ingress[0])" in caplog.text


async def test_local_access_that_is_kept_has_a_say(caplog: pytest.LogCaptureFixture) -> None:
    locked = gate(Rejection(status=403, reason="access refused: no token"), [])

    access = {"access": {"required": True, "teamName": "example", "audTag": ["a"]}}
    rule = {"hostname": "app.example", "service": "http://localhost:2", "originRequest": access}
    local = parse_ingress({"ingress": [rule, {"service": "http_status:404"}]})
    under = PathUnderTest()
    under.orchestrator.routes.local_access = await LocalAccess.of(
        local, [lambda origin, rule: locked(origin, rule) if rule.settings.access else origin]
    )
    assert (await under.ask(host=b"APP.example:80")).status == 403
    assert (await under.ask(host=b"other.example")).status == 200
    assert "access refused: no token (demanded by ingress[0] of the local config)" in caplog.text


async def test_of_a_local_rule_for_somebody_the_access_is_kept_for_everybody() -> None:
    kept: list[tuple[str, ...]] = []

    access = {"access": {"required": True, "teamName": "example", "audTag": ["a"]}}
    rule = {"hostname": "app.example", "service": "http://localhost:2", "originRequest": access}
    local = parse_ingress({"ingress": [rule | {"identity": ["role:a"]}, {"service": "http_status:404"}]})
    locked = gate(Rejection(status=403, reason="access refused: no token"), [])

    def layer(origin: Origin, rule: Rule) -> Origin:
        kept.append(rule.identity)
        return locked(origin, rule)

    under = PathUnderTest()
    under.orchestrator.routes.local_access = await LocalAccess.of(local, [layer])
    assert (await under.ask(host=b"app.example")).status == 403
    assert (await under.ask(host=b"other.example")).status == 200
    assert kept == [()]


def test_a_rule_for_somebody_is_not_served_where_nobody_can_be_told_apart() -> None:
    access = {"access": {"required": True, "teamName": "example", "audTag": ["a"]}}
    rule = {"hostname": "a.test", "service": "http://localhost:2", "originRequest": access, "identity": ["role:a"]}
    rules = parse_ingress({"ingress": [rule, {"service": "http_status:404"}]}).rules
    with pytest.raises(ValueError, match="nothing here can say who asks"):
        compose(FakeOrigin(), rules[0], [gate(Rejection(status=403, reason=""), [])])


async def test_each_request_and_its_answer_are_lines_of_a_debug_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "pyconnector")

    answer = FakeResponse(b"hello", status=203, headers=[(b"X-Secret", b"hush")])
    under = PathUnderTest(FakeOrigin(lambda request, body: _later(answer)))
    await under.ask(headers=[(b"Cookie", b"hush")])
    asked, answered = [record for record in caplog.records if record.name == "pyconnector.request"]
    assert asked.getMessage().startswith("GET /")
    assert answered.getMessage() == f"203 for {asked.getMessage()}"
    told = [record.fields for record in (asked, answered)]  # type: ignore[attr-defined]
    assert "Cookie" in told[0]["headers"]
    assert told[1]["headers"] == "X-Secret"
    assert told[0]["ingressRule"] == told[1]["ingressRule"] == 0
    assert "hush" not in str(told)
