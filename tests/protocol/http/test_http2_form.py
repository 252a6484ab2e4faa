"""Requests and responses of the tunnel protocol as HTTP/2 field sections (wire.md 14)."""

from __future__ import annotations

import json

import pytest

from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.http import http2_form as form
from pyconnector.protocol.http.headers import RequestHead
from pyconnector.protocol.http.http2_form import Kind

PSEUDO = [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"app.test:8080"), (b":path", b"/a%20b?c")]


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ([], Kind.HTTP),
        ([(form.UPGRADE, b"update-configuration"), (form.PROXY_SRC, b"1.2.3.4")], Kind.UPDATE),
        ([(form.UPGRADE, b"websocket"), (form.PROXY_SRC, b"1.2.3.4")], Kind.WEBSOCKET),
        ([(form.UPGRADE, b"control-stream"), (form.PROXY_SRC, b"1.2.3.4")], Kind.TCP),
        ([(form.PROXY_SRC, b"1.2.3.4")], Kind.TCP),
        ([(form.PROXY_SRC, b"")], Kind.HTTP),
        ([(form.UPGRADE, b"control-stream")], Kind.CONTROL),
        ([(form.UPGRADE, b"WebSocket")], Kind.HTTP),
    ],
)
def test_the_kind_of_a_request(fields: form.Fields, kind: Kind) -> None:
    assert form.kind_of([*PSEUDO, *fields]) is kind


def test_a_request_comes_out_as_it_went_in() -> None:
    head = RequestHead(
        "PUT", "app.test:81", "//a/../b%2F?x=%zz", [(b"X-A", b"1"), (b"X-B", b"\xff"), (b"X-A", b"2")], 5
    )
    fields = form.request_fields(head)
    assert (b"content-length", b"5") in fields
    assert form.read_request(fields, Kind.HTTP, ended=False) == head


def test_framing_follows_http2() -> None:
    def length(*fields: tuple[bytes, bytes], ended: bool) -> int | None:
        return form.read_request([*PSEUDO, *fields], Kind.HTTP, ended=ended).body_length

    assert length(ended=True) == 0
    assert length(ended=False) is None
    assert length((b"content-length", b"7"), ended=False) == 7
    assert length((b"content-length", b"0"), ended=True) == 0


@pytest.mark.parametrize(
    "fields",
    [
        [(b"content-length", b"7"), (b"content-length", b"8")],
        [(b"transfer-encoding", b"chunked")],
        [(b"x", b"a\r\nb")],
        [(b"x y", b"a")],
        [(b":path", b"no-slash")],
        [(b":method", b"a b")],
        [(b":authority", b"a/b")],
    ],
    ids=lambda fields: fields[-1][0].decode(),
)
def test_what_could_become_another_request_is_refused(fields: form.Fields) -> None:
    names = {name for name, _ in fields}
    with pytest.raises(ProtocolError):
        form.read_request([*[f for f in PSEUDO if f[0] not in names], *fields], Kind.HTTP, ended=False)


def test_a_body_that_cannot_come_is_refused() -> None:
    with pytest.raises(ProtocolError):
        form.read_request([*PSEUDO, (b"content-length", b"7")], Kind.HTTP, ended=True)


def test_parted_cookies_are_joined_in_their_place() -> None:
    fields = [*PSEUDO, (b"cookie", b"a=1"), (b"x", b"y"), (b"cookie", b"b=2")]
    head = form.read_request(fields, Kind.HTTP, ended=True)
    assert head.headers == [(b"Cookie", b"a=1; b=2"), (b"X", b"y")]


def test_words_between_edge_and_connector_do_not_pass() -> None:
    headers = [
        (b"Connection", b"close"), (b"Upgrade", b"x"), (b"Te", b"gzip"), (b"Keep-Alive", b"1"),
        (b"Cf-Cloudflared-Proxy-Src", b"me"), (b"Cf-Cloudflared-Proxy-Connection-Upgrade", b"control-stream"),
    ]  # fmt: skip
    fields = form.request_fields(RequestHead("GET", "a", "/", headers))
    assert [name for name, _ in fields if not name.startswith(b":")] == []
    assert form.kind_of(form.request_fields(RequestHead("GET", "a", "/", headers), websocket=True)) is Kind.WEBSOCKET


def test_headers_travel_serialized() -> None:
    headers = [(b"Set-Cookie", b"a"), (b"Set-Cookie", b"b"), (b"X-Raw", b"\xff"), (b"Content-Length", b"3"),
               (b"Cf-Int-Cloudflared-Tracing", b"spans"), (b"Transfer-Encoding", b"chunked")]  # fmt: skip
    fields = form.response_fields(101, headers)
    assert dict(fields)[b":status"] == b"200"
    assert dict(fields)[b"content-length"] == b"3"
    assert dict(fields)[b"cf-int-cloudflared-tracing"] == b"spans"
    answer = form.read_response(fields)
    assert (answer.status, answer.failed, answer.headers) == (200, False, headers[:4])


@pytest.mark.parametrize("status", [0, 100, 199, 1000])
def test_no_interim_status_is_an_answer(status: int) -> None:
    with pytest.raises(ProtocolError):
        form.response_fields(status, [])


def test_too_many_headers_are_refused() -> None:
    with pytest.raises(ProtocolError):
        form.response_fields(200, [(b"X", bytes(65).replace(b"\0", b"x") * 1024)] * 4)


def test_an_error_says_who_failed() -> None:
    assert form.failure_fields(502) == [(b":status", b"502"), (form.RESPONSE_META, b'{"src":"cloudflared"}')]
    answer = form.read_response(form.failure_fields(504, rate_limited=True))
    assert (answer.status, answer.failed, answer.rate_limited) == (504, True, True)


def test_an_acknowledgement_answers_a_handshake() -> None:
    key = b"dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 1.3
    headers = dict(form.read_response(form.acknowledgement_fields([(b"sec-websocket-key", key)])).headers)
    assert headers[b"Sec-Websocket-Accept"] == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert form.read_response(form.acknowledgement_fields([])).headers == []


def test_trailers_hold_nothing_of_a_head() -> None:
    assert form.trailer_fields([(b"Grpc-Status", b" 0")]) == [(b"grpc-status", b"0")]
    with pytest.raises(ProtocolError):
        form.trailer_fields([(b"Content-Length", b"0")])
    assert form.read_trailers([(b"grpc-status", b"0"), (b"host", b"x")]) == [(b"Grpc-Status", b"0")]


def test_updates_and_their_answers() -> None:
    body = form.encode_update(7, b'{"ingress":[]}')
    assert json.loads(body) == {"version": 7, "config": {"ingress": []}}
    assert form.decode_update(body) == (7, b'{"ingress":[]}')
    assert json.loads(form.encode_update_answer(7, "")) == {"lastAppliedVersion": 7, "err": None}
    assert form.decode_update_answer(form.encode_update_answer(6, "no")) == (6, "no")
    assert form.decode_update_answer(b'{"lastAppliedVersion":6,"err":{}}') == (6, "The connector gave no reason.")


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"version":true}', b'{"version":4294967296}', b'{"config":1}'])
def test_no_update_is_none(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        form.decode_update(body)
    with pytest.raises(ProtocolError):
        form.decode_update_answer(body.replace(b"version", b"lastAppliedVersion"))
