"""Spans of requests: the visitor's trace goes on, through this connector, at the service."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from pyconnector.connector.api.errors import StartFailed
from pyconnector.origins.base import OriginRequest, RequestKind
from tests.connector.fakes import rule_of
from tests.support.houses.house import House, open_house
from tests.support.peers.raw_origin import Peer, raw_origin
from tests.support.peers.raw_visitor import RawVisitor, get

pytest.importorskip("opentelemetry.sdk", reason="the extra `otel` is not installed")

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from pyconnector.connector.observe import tracing
from pyconnector.connector.observe.observer import RequestRecord
from pyconnector.connector.observe.tracing import COMPLAINT_SECONDS, MAX_FIELD, Tracing, open_tracing

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


class Spans:
    """A Tracing whose spans stay here."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracing = Tracing(provider)

    def only(self) -> Any:
        (span,) = self.exporter.get_finished_spans()
        return span


@asynccontextmanager
async def traced(rules: list[dict[str, Any]], spans: Spans) -> AsyncIterator[House]:
    async with open_house(rules, connector_options={"observers": [spans.tracing]}) as house:
        yield house


async def visit(house: House, *lines: str) -> int:
    async with RawVisitor(house.edge.visitor_address) as visitor:
        return (await visitor.request(get("/a?secret=hush", "app.test", *lines))).status


async def test_a_trace_goes_on_at_the_service() -> None:
    spans, seen = Spans(), bytearray()

    async def script(peer: Peer) -> None:
        seen.extend(await peer.head())
        await peer.send(OK)

    async with raw_origin(script) as origin:
        rules = [{"hostname": "app.test", "service": f"http://127.0.0.1:{origin.port}"}, {"service": "http_status:404"}]
        async with traced(rules, spans) as house:
            status = await visit(house, f"traceparent: 00-{TRACE}-{PARENT}-01", "tracestate: a=b", "Cookie: hush")
            assert status == 200
            while not spans.exporter.get_finished_spans():
                await asyncio.sleep(0)
    span = spans.only()
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, PARENT)
    assert span.name == "GET app.test"
    told = dict(span.attributes)
    assert told["url.path"] == "/a"
    assert (told["http.request.method"], told["http.response.status_code"]) == ("GET", 200)
    assert (told["server.address"], told["pyconnector.rule"]) == ("app.test", 0)
    assert "hush" not in str(told)
    fields = [line for line in bytes(seen).lower().split(b"\r\n") if line.startswith((b"traceparent", b"tracestate"))]
    assert sorted(fields) == [f"traceparent: 00-{TRACE}-{span.context.span_id:016x}-01".encode(), b"tracestate: a=b"]
    assert not spans.tracing._spans


async def test_what_fails_is_an_error_in_a_trace_of_its_own() -> None:
    spans = Spans()
    async with traced([{"service": "http://127.0.0.1:1"}], spans) as house:
        assert await visit(house) == 502
        while not spans.exporter.get_finished_spans():
            await asyncio.sleep(0)
    span = spans.only()
    assert span.parent is None
    assert span.status.status_code.name == "ERROR"
    assert span.attributes["http.response.status_code"] == 502


def test_what_reached_no_service_has_a_span_too() -> None:
    spans = Spans()
    record = RequestRecord(2, RequestKind.TCP, started=10.0)
    record.request = OriginRequest(
        kind=RequestKind.TCP, method="", target="", host="", headers=[], destination="192.0.2.1:22"
    )
    record.ended, record.error, record.refused = 12.5, "cut off", "access"
    spans.tracing.end(record)
    span = spans.only()
    assert (span.name, span.attributes["pyconnector.destination"]) == ("private stream", "192.0.2.1:22")
    assert span.attributes["pyconnector.refused"] == "access"
    assert (span.end_time - span.start_time) / 1e9 == pytest.approx(2.5, abs=1.0)
    spans.tracing.end(RequestRecord(0))  # one that could not be read


def test_made_up_methods_and_contexts_are_no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    spans = Spans()
    request = OriginRequest(
        kind=RequestKind.HTTP, method="EVIL\x1b", target="/", host="h",
        headers=[(b"Traceparent", b"00-nonsense"), (b"tracestate", b"x" * 100_000)],
    )  # fmt: skip
    read: list[dict[str, str]] = []
    extract = spans.tracing._propagator.extract

    def recorded(given: dict[str, str]) -> Any:
        read.append(given)
        return extract(given)

    monkeypatch.setattr(spans.tracing._propagator, "extract", recorded)
    spans.tracing.enter(request, rule_of("http_status:200"))
    assert max(map(len, read[0].values())) == MAX_FIELD, "no more is looked at"
    names = [name for name, _ in request.headers]
    assert names == [b"traceparent"], "one of our own, in place of what was none"
    (span,) = spans.tracing._spans.values()
    assert span.name == "HTTP *"  # type: ignore[attr-defined]


def test_spans_that_cannot_be_sent_are_told_once_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr(tracing, "LAST_SECONDS", 0.0)
    made = open_tracing("http://127.0.0.1:1")
    try:
        for _ in range(3):
            logging.getLogger("opentelemetry.exporter").error("cannot reach http://u:hush@c.test")
        assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["Spans are lost"]
        assert "hush" not in caplog.text
        now[0] += COMPLAINT_SECONDS
        logging.getLogger("opentelemetry.exporter").error("again")
        assert "again" in caplog.text
    finally:
        made.close()


def test_without_the_extra_the_start_fails_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(StartFailed, match=r"trace-to needs the extra `otel`: pip install 'pyconnector\[otel\]'"):
        open_tracing("http://127.0.0.1:4318")


async def test_spans_reach_a_collector() -> None:
    got: list[bytes] = []

    async def script(peer: Peer) -> None:
        got.append(await peer.head())
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n")

    async with raw_origin(script) as collector:
        made = open_tracing(f"http://127.0.0.1:{collector.port}")
        request = OriginRequest(kind=RequestKind.HTTP, method="GET", target="/", host="h", headers=[])
        record = RequestRecord(0, RequestKind.HTTP)
        record.request = request
        made.enter(request, rule_of("http_status:200"))
        made.end(record)
        await asyncio.to_thread(made.close)
    assert got[0].startswith(b"POST /v1/traces HTTP/1.1\r\n")
