"""Response headers as one header, against what the reference wrote."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.http.headers import parse_serialized_headers, serialize_headers
from pyconnector.protocol.http.serialized_headers import MAX_SERIALIZED_BYTES
from tests.support.wire import strategies
from tests.support.wire.vectors import vectors

CASES = vectors("response_headers")["cases"]


@pytest.mark.parametrize("case", CASES)
def test_recorded_values_are_read_and_written(case: dict[str, Any]) -> None:
    fields = parse_serialized_headers(case["serialized"].encode())
    by_name: dict[str, list[str]] = {}
    for name, value in fields:
        by_name.setdefault(name.decode(), []).append(value.decode())
    assert by_name == case["headers"]
    # The recorded order of different names was arbitrary; ours is the order that came in.
    assert serialize_headers(fields) == case["serialized"].encode()


@settings(max_examples=200, deadline=None)
@given(strategies.header_lists)
def test_fields_round_trip(fields: list[tuple[bytes, bytes]]) -> None:
    prefixes = (b"cf-int-", b"cf-cloudflared-", b"cf-proxy-")
    kept = [field for field in fields if not field[0].lower().startswith(prefixes)]
    assert parse_serialized_headers(serialize_headers(fields)) == kept


def test_control_names_are_left_out() -> None:
    fields = [
        (b":status", b"200"),
        (b"Cf-Int-X", b"a"),
        (b"CF-Cloudflared-Y", b"b"),
        (b"cf-proxy-z", b"c"),
        (b"A", b"b"),
    ]
    assert serialize_headers(fields) == b"QQ:Yg"
    assert serialize_headers(fields[:4]) == b""


@pytest.mark.parametrize("fields", [[(b"A", b"a\r\nb")], [(b"A B", b"")], [(b"", b"")], [(b"A\n", b"")]])
def test_what_must_not_travel_is_refused(fields: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(ProtocolError):
        serialize_headers(fields)


@pytest.mark.parametrize(
    "text",
    [
        b"QQ",  # no value
        b"QQ:Yg:Yg",
        b"QQ==:Yg",  # padded
        b"Q!:Yg",
        b"Q:Yg",  # no length that base64 has
        b"QQ:Yg\r\n",
        b"QQ:DQo",  # CR LF inside
        b":Yg",  # empty name
        b"QSBC:Yg",  # a space in the name
        b"\xff:Yg",
    ],
)
def test_malformed_values_are_refused(text: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_serialized_headers(text)


def test_empty_values_hold_nothing() -> None:
    assert parse_serialized_headers(b"") == []
    assert parse_serialized_headers(b";;QQ:;") == [(b"A", b"")]


def test_too_long_a_value_is_refused_unread() -> None:
    with pytest.raises(ProtocolError, match="limit"):
        parse_serialized_headers(b";" * (MAX_SERIALIZED_BYTES + 1))


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ABab09+/=:; \n", max_size=60).map(str.encode) | st.binary(max_size=60))
def test_anything_else_raises_only_protocol_errors(text: bytes) -> None:
    try:
        parse_serialized_headers(text)
    except ProtocolError:
        pass
