"""The access log: what a record says, what it can never say, and that it costs nothing while it is off."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyconnector.connector.api.errors import StartFailed
from pyconnector.connector.config import LogConfig
from pyconnector.connector.observe.access_log import (
    MAX_FIELD_CHARS,
    NAME,
    AccessLog,
    JsonLinesFormatter,
    ReadableFormatter,
)
from pyconnector.connector.observe.access_log_output import open_access_log
from pyconnector.connector.requests import running
from pyconnector.identity.access_token import Identity
from pyconnector.origins.base import ByteReader, OriginError, OriginRequest, OriginResponse
from pyconnector.origins.layers.base import Gate, Layer, Rejection
from pyconnector.protocol.streams.connect import ConnectionType
from tests.connector.fakes import FakeOrigin, FakeResponse, PathUnderTest, opening, read_answer
from tests.support.wire.access_log import Records

pytestmark = pytest.mark.usefixtures("virtual_time")


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Records:
    records = Records()
    monkeypatch.setattr(PathUnderTest, "observers", (AccessLog(records),))
    return records


def answering(answer: OriginResponse | Exception, *, reads: bool = False) -> FakeOrigin:
    async def serve(request: OriginRequest, body: ByteReader) -> OriginResponse:
        while reads and await body.receive():
            pass
        if isinstance(answer, Exception):
            raise answer
        return answer

    return FakeOrigin(serve)


def gate(answer: Identity | Rejection) -> Layer:
    """A layer that names or refuses whoever comes."""

    class Asked(Gate):
        async def admit(self, request: OriginRequest) -> None:
            if isinstance(answer, Rejection):
                raise answer
            request.identity = answer

    return Asked


async def ask(under: PathUnderTest, data: bytes = b"", **request: Any) -> None:
    await under.ask(data, **request)
    await under.settled()


async def test_one_record_says_who_asked_for_what_and_how_it_ended(log: Records) -> None:
    identity = Identity(kind="user", name="dev@acme.example", subject="7", expires=0.0)
    answer = FakeResponse(b"hello ", b"world", status=201)
    under = PathUnderTest(answering(answer, reads=True), layers=(gate(identity),))
    await ask(under, b"12345", method=b"POST", headers=[(b"Content-Length", b"5")])
    assert log.only() == {
        "connIndex": 3, "kind": "http", "method": "POST", "host": "app.example", "path": "/path", "rule": 0,
        "service": "http://localhost:1", "status": 201, "bytesIn": 5, "bytesOut": 11, "durationMs": 0.0,
        "identityKind": "user", "identity": "dev@acme.example",
    }  # fmt: skip


async def test_the_duration_lasts_to_the_end_of_the_response(log: Records) -> None:
    answer = FakeResponse(b"first")
    answer.open = True
    under = PathUnderTest(answering(answer))
    stream = await under.open(opening())
    await asyncio.sleep(2.5)
    assert log.records == []
    answer.end()
    await read_answer(stream)
    await under.settled()
    assert log.only()["durationMs"] == pytest.approx(2500)


async def test_a_refusal_gives_its_reason_and_no_identity(log: Records) -> None:
    under = PathUnderTest(layers=(gate(Rejection(status=403, reason="access refused: no token")),))
    await ask(under, headers=[(b"Cf-Access-Jwt-Assertion", b"sesame"), (b"Cookie", b"sesame")])
    found = log.only()
    assert (found["status"], found["refused"]) == (403, "access refused: no token")
    assert "identity" not in found


async def test_nothing_of_query_headers_cookies_and_tokens_is_written(log: Records) -> None:
    answer = FakeResponse(b"x", headers=[(b"Set-Cookie", b"sesame")])
    names = (b"Cookie", b"Authorization", b"Cf-Access-Jwt-Assertion", b"User-Agent", b"Sesame")
    for target in ("/a?k=sesame", "/a?sesame", "/a??b=sesame#sesame"):
        await ask(PathUnderTest(answering(answer)), dest=f"http://app.example{target}",
                  headers=[(name, b"sesame") for name in names])  # fmt: skip
    await ask(PathUnderTest(), dest="http://u:sesame@app.example/a?sesame", headers=[(b"Bad Name", b"sesame")])
    await ask(PathUnderTest(), headers=[(b"Content-Length", b"sesame")])
    assert len(log.records) == 5
    assert [found["path"] for found in log.fields[:3]] == ["/a"] * 3
    for record in log.records:
        for text in (str(record.msg), JsonLinesFormatter().format(record), repr(vars(record))):
            assert "sesame" not in text.lower()


@pytest.mark.parametrize(
    ("answer", "status", "error"),
    [
        (OriginError("it refused the connection"), 502, "it refused the connection"),
        (OriginError("all are down", status=503), 503, "all are down"),
    ],
)
async def test_an_origin_that_fails_is_said(log: Records, answer: Exception, status: int, error: str) -> None:
    await ask(PathUnderTest(answering(answer)))
    assert (log.only()["status"], log.only()["error"]) == (status, error)


async def test_an_origin_that_breaks_off_leaves_its_status_and_the_reason(log: Records) -> None:
    answer = FakeResponse(b"half")
    answer.open = True
    under = PathUnderTest(answering(answer))
    await under.open(opening())
    await asyncio.sleep(0.1)
    answer.end(OriginError("it broke the connection off"))
    await under.settled()
    found = log.only()
    assert (found["status"], found["bytesOut"]) == (200, 4)
    assert found["error"] == "the origin broke off: it broke the connection off"


async def test_a_visitor_who_leaves_is_said(log: Records) -> None:
    async def never(request: OriginRequest, body: ByteReader) -> OriginResponse:
        await asyncio.Event().wait()
        raise AssertionError

    under = PathUnderTest(FakeOrigin(never))
    stream = await under.open(opening())
    await asyncio.sleep(0.1)
    stream.reset()
    stream.stop()
    await under.settled()
    assert log.only()["error"].startswith("cut off: client disconnected")
    assert "status" not in log.only()


async def test_a_request_that_cannot_be_read_leaves_a_record_too(log: Records) -> None:
    await ask(PathUnderTest(), headers=[(b"Content-Length", b"1"), (b"Content-Length", b"2")])
    found = log.only()
    assert (found["status"], found["error"]) == (400, "two Content-Length fields differ")
    assert (found["method"], found["host"]) == ("GET", "app.example")


async def test_a_stream_beyond_the_bound_leaves_a_record(log: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "MAX_REQUESTS", 0)
    await ask(PathUnderTest())
    assert "already serves 0 streams" in log.only()["error"]


async def test_a_websocket_and_a_tcp_stream_leave_one_record_each_when_they_end(log: Records) -> None:
    tunnel = FakeResponse(b"bytes", status=101)
    tunnel.tunnel = True
    under = PathUnderTest(answering(tunnel, reads=True), private=answering(FakeResponse(b"abc"), reads=True))
    await ask(under, b"hi", kind=ConnectionType.WEBSOCKET)
    await ask(under, b"query", kind=ConnectionType.TCP, dest="10.0.0.1:5432")
    under.orchestrator.limiter.limit, under.orchestrator.limiter.active = 1, 1
    await ask(under, kind=ConnectionType.TCP, dest="10.0.0.1:5432")
    websocket, tcp, limited = log.fields
    assert (websocket["kind"], websocket["status"]) == ("websocket", 101)
    assert (websocket["bytesIn"], websocket["bytesOut"]) == (2, 5)
    assert (tcp["kind"], tcp["destination"], tcp["bytesIn"], tcp["bytesOut"]) == ("tcp", "10.0.0.1:5432", 5, 3)
    assert "method" not in tcp
    assert "too many active flows" in limited["error"]


async def test_a_service_with_a_password_is_shown_without_it(log: Records) -> None:
    under = PathUnderTest(service="http://user:sesame@localhost:1")
    await ask(under)
    assert log.only()["service"] == "http://localhost:1"


# -- what visitors and edges put into it ---------------------------------------------------------------------------

HOSTILE = 'a b=c" status=200 identity=admin\\n\r\nfake line\x1b[31m\u2028\u202e\udcff\x00'


async def test_nothing_that_is_sent_ends_a_line_or_makes_a_field(log: Records) -> None:
    failing = answering(OriginError(HOSTILE))
    await ask(PathUnderTest(failing), dest="http://h/a b=c%22\u2028\u202e'\"status=200", method=b"X-Y")
    await ask(PathUnderTest(), host=HOSTILE.encode("utf-8", "surrogateescape"))
    await ask(PathUnderTest(), kind=ConnectionType.TCP, dest="1.2.3.4:5 status=200\r\nx")
    assert len(log.records) == 3
    for record in log.records:
        for line in (ReadableFormatter().format(record), JsonLinesFormatter().format(record), record.getMessage()):
            assert line.isprintable()
            assert line.isascii()
        fields = vars(record)["fields"]
        assert parsed(record.getMessage()) == {name: str(value) for name, value in fields.items()}
        loaded = json.loads(JsonLinesFormatter().format(record))
        assert {name: loaded[name] for name in fields} == fields


def parsed(line: str) -> dict[str, str]:
    """Take a readable line apart as a reader would: unquoted up to the space, quoted as JSON."""
    fields, rest = {}, line
    while rest:
        name, _, rest = rest.partition("=")
        if rest.startswith('"'):
            value, end = json.JSONDecoder().raw_decode(rest)
        else:
            value, end = rest.partition(" ")[0], len(rest.partition(" ")[0])
        assert name not in fields
        fields[name], rest = value, rest[end + 1 :]
    return fields


async def test_every_field_is_bounded(log: Records) -> None:
    long = "\u2028" * 5000
    under = PathUnderTest(answering(OriginError(long)))
    await ask(under, dest="http://h/" + "p" * 10_000, host=b"h" * 5000, method=b"M" * 5000)
    await ask(PathUnderTest(), kind=ConnectionType.TCP, dest=long)
    for record in log.records:
        for value in vars(record)["fields"].values():
            assert len(str(value)) <= MAX_FIELD_CHARS + 3
        assert len(ReadableFormatter().format(record)) < 8192
    assert log.fields[0]["path"] == "/" + "p" * (MAX_FIELD_CHARS - 1) + "..."


# -- whom it reaches -----------------------------------------------------------------------------------------------


async def test_loggers_and_their_handlers_have_no_part_in_it(log: Records, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger(NAME).setLevel(logging.CRITICAL)
    try:
        await ask(PathUnderTest())
    finally:
        logging.getLogger(NAME).setLevel(logging.NOTSET)
    assert len(log.records) == 1
    assert [record for record in caplog.records if record.name == NAME] == []


async def test_a_handler_takes_what_is_of_its_level(log: Records) -> None:
    log.setLevel(logging.WARNING)
    await ask(PathUnderTest())
    assert log.records == []


async def test_two_connectors_have_logs_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Records(), Records()
    for records in (first, second):
        monkeypatch.setattr(PathUnderTest, "observers", (AccessLog(records),))
        await ask(PathUnderTest())
    assert (len(first.records), len(second.records)) == (1, 1)


# -- where the command line puts it --------------------------------------------------------------------------------


@contextlib.contextmanager
def set_up(config: LogConfig) -> Iterator[None]:
    handler = open_access_log(config)
    assert handler is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PathUnderTest, "observers", (AccessLog(handler),))
        yield
    handler.close()
    handler.close()


async def test_a_file_gets_readable_lines_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    with set_up(LogConfig(access=str(path))):
        await ask(PathUnderTest())
        await ask(PathUnderTest())
    lines = path.read_text().splitlines()
    assert len(lines) == 2
    time, _, rest = lines[0].partition(" ")
    assert time.endswith("Z")
    assert len(time) == len("2026-11-24T10:00:00.000Z")
    assert rest.startswith("connIndex=3 kind=http method=GET host=app.example path=/path rule=0")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_json_lines_where_the_log_is_json(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    with set_up(LogConfig(access=str(path), output="json")):
        await ask(PathUnderTest())
    (line,) = path.read_text().splitlines()
    assert json.loads(line)["status"] == 200
    assert json.loads(line)["time"].endswith("Z")


async def test_a_file_that_was_moved_away_is_opened_anew(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    with set_up(LogConfig(access=str(path))):
        await ask(PathUnderTest())
        path.rename(tmp_path / "access.log.1")
        await ask(PathUnderTest())
    assert len(path.read_text().splitlines()) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_dash_is_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    with set_up(LogConfig(access="-")):
        await ask(PathUnderTest())
    assert "kind=http" in capsys.readouterr().out


def test_nothing_is_set_up_without_the_flag() -> None:
    assert open_access_log(LogConfig()) is None


def test_a_file_that_cannot_be_opened_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match=r"cannot open the access log .*: Is a directory"):
        open_access_log(LogConfig(access=str(tmp_path)))
