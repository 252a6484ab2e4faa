"""Who wants to know of requests: when an observer is told, of what, and that a broken one costs no request."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any

import pytest

from pyconnector.connector.observe.observer import COMPLAINT_INTERVAL, Observer, RequestRecord, combined
from pyconnector.connector.observe.rule_metrics import DURATIONS, MAX_RULES, OTHER, RuleMetrics
from pyconnector.connector.requests import path as request_path
from pyconnector.connector.requests.exchange import Exchange
from pyconnector.connector.requests.observed import ObservedExchange
from pyconnector.ingress import Rule, parse_ingress
from pyconnector.origins.base import ByteReader, OriginError, OriginRequest, OriginResponse, RequestKind
from pyconnector.origins.layers.base import Gate, Rejection
from pyconnector.protocol.streams.connect import ConnectionType
from tests.connector.fakes import FakeOrigin, FakeResponse, PathUnderTest, opening

pytestmark = pytest.mark.usefixtures("virtual_time")


class Noting(Observer):
    """Keeps what it was told, as it was at that time."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def begin(self, record: RequestRecord) -> None:
        self.told.append(("begin", record.connection, record.rule))

    def head(self, record: RequestRecord) -> None:
        self.told.append(("head", record.status, record.bytes_out))

    def end(self, record: RequestRecord) -> None:
        self.told.append(("end", record.status, record.bytes_in, record.bytes_out, record.duration, record.error))


class Broken(Observer):
    def begin(self, record: RequestRecord) -> None:
        raise ZeroDivisionError

    head = end = begin


def observed(monkeypatch: pytest.MonkeyPatch, *observers: Observer) -> None:
    monkeypatch.setattr(PathUnderTest, "observers", observers)


def failing(request: OriginRequest, body: ByteReader) -> Awaitable[OriginResponse]:
    raise OriginError("it refused the connection")


async def ask(under: PathUnderTest, data: bytes = b"", **request: Any) -> int:
    answer = await under.ask(data, **request)
    await under.settled()
    return answer.status


async def test_an_observer_is_told_of_begin_head_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    noting = Noting()
    observed(monkeypatch, noting)

    async def slow(request: OriginRequest, body: ByteReader) -> OriginResponse:
        assert await body.receive() == b"12"
        await asyncio.sleep(2)
        return FakeResponse(b"hello", status=201)

    await ask(PathUnderTest(FakeOrigin(slow)), b"12", headers=[(b"Content-Length", b"2")], method=b"POST")
    begin, head, (*end, duration, error) = noting.told
    assert begin == ("begin", 3, None)
    assert head == ("head", 201, 0)
    assert end == ["end", 201, 2, 5]
    assert (duration, error) == (pytest.approx(2), "")


async def test_a_private_stream_is_observed_without_a_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    noting = Noting()
    observed(monkeypatch, noting)
    await _only(ask(PathUnderTest(), kind=ConnectionType.TCP, dest="10.0.0.1:22"))
    assert [told[0] for told in noting.told] == ["begin", "head", "end"]


async def test_a_request_that_is_broken_off_has_an_end_and_no_head(monkeypatch: pytest.MonkeyPatch) -> None:
    noting = Noting()
    observed(monkeypatch, noting)

    async def never(request: OriginRequest, body: ByteReader) -> OriginResponse:
        await asyncio.Event().wait()
        raise AssertionError

    under = PathUnderTest(FakeOrigin(never))
    stream = await under.open(opening())
    await asyncio.sleep(0.1)
    stream.reset()
    stream.stop()
    await under.settled()
    assert [told[0] for told in noting.told] == ["begin", "end"]
    assert noting.told[-1][-1].startswith("cut off")


async def test_without_observers_nothing_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("the request is observed")

    under = PathUnderTest()
    monkeypatch.setattr(request_path, "RequestRecord", fail)
    monkeypatch.setattr(request_path, "ObservedExchange", fail)
    assert await ask(under) == 200
    assert under.path._unobserved.request is None, "and nothing of the request is kept"


async def test_a_broken_observer_costs_no_request_and_one_line_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    noting = Noting()
    observed(monkeypatch, Broken(), noting)

    with caplog.at_level(logging.ERROR, "pyconnector"):
        under = PathUnderTest()
        assert await ask(under) == 200
        assert await ask(under) == 200
        assert len(caplog.records) == 1
        await asyncio.sleep(COMPLAINT_INTERVAL)
        assert await ask(under) == 200
    assert [told[0] for told in noting.told] == ["begin", "head", "end"] * 3
    assert caplog.messages == ["The observer Broken fails: ZeroDivisionError"] * 2


def test_an_observed_exchange_passes_everything_on() -> None:
    public = {name for name in vars(Exchange) if not name.startswith("_")}
    assert public <= set(vars(ObservedExchange))


def test_no_observers_combine_to_none() -> None:
    assert combined(()) is None


# -- metrics of rules ----------------------------------------------------------------------------------------------


def record_of(rule: Rule | None, index: int = 0, **facts: Any) -> RequestRecord:
    record = RequestRecord(0, RequestKind.HTTP)
    record.rule, record.rule_index = rule, index
    for name, value in facts.items():
        setattr(record, name, value)
    return record


def rule(hostname: str = "app.test", service: str = "http://u:sesame@localhost:1") -> Rule:
    return parse_ingress({"ingress": [{"hostname": hostname, "service": service}, {"service": service}]}).rules[0]


async def test_requests_of_a_rule_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = RuleMetrics()
    observed(monkeypatch, metrics)

    class Closed(Gate):
        async def admit(self, request: OriginRequest) -> None:
            raise Rejection(status=403, reason="no", body=b"no")

    assert await ask(PathUnderTest()) == 200
    await ask(PathUnderTest(FakeOrigin(failing)))
    assert await ask(PathUnderTest(layers=(Closed,))) == 403
    await ask(PathUnderTest(), kind=ConnectionType.TCP, dest="10.0.0.1:22")
    ((labels, counts),) = metrics.rules.items()
    assert labels == ("0", "", "", "http://localhost:1")
    assert (counts.requests, counts.origin_errors, counts.refused, counts.bytes_out) == (3, 1, 1, 7)
    assert counts.responses == {2: 1, 5: 1, 4: 1}
    assert counts.durations.cumulative()[-1] == ("+Inf", 3)


async def test_a_service_that_breaks_off_counts_as_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = RuleMetrics()
    observed(monkeypatch, metrics)

    answer = FakeResponse(b"half")
    answer.broken = OriginError("it broke the connection off")

    async def serve(request: OriginRequest, body: ByteReader) -> OriginResponse:
        return answer

    under = PathUnderTest(FakeOrigin(serve))
    await under.open(opening())
    await asyncio.sleep(0.1)
    await under.settled()
    (counts,) = metrics.rules.values()
    assert (counts.origin_errors, counts.responses) == (1, {2: 1})


def test_a_reload_goes_on_with_the_counts_of_the_same_rule() -> None:
    metrics = RuleMetrics()
    for _ in range(3):
        metrics.end(record_of(rule(), status=200))  # another object each time, as after a reload
    metrics.end(record_of(rule("other.test"), status=200))
    assert {labels[1]: counts.requests for labels, counts in metrics.rules.items()} == {"app.test": 3, "other.test": 1}
    assert "sesame" not in repr(metrics.rules)


def test_rules_beyond_the_bound_are_counted_together() -> None:
    metrics = RuleMetrics()
    for number in range(MAX_RULES + 50):
        metrics.end(record_of(rule(f"h{number}.test"), index=number, status=200))
    assert len(metrics.rules) == MAX_RULES + 1
    assert metrics.rules[OTHER].requests == 50


def test_the_longest_duration_has_a_bucket_of_its_own() -> None:
    metrics = RuleMetrics()
    metrics.end(record_of(rule(), started=1.0, ended=1.0 + DURATIONS[-1] * 2))
    ((*_, last, infinite),) = [counts.durations.cumulative() for counts in metrics.rules.values()]
    assert (last[1], infinite) == (0, ("+Inf", 1))


async def _only(answer: Awaitable[int]) -> None:
    await answer
