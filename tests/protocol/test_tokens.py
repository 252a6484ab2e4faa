"""Tunnel tokens, against those that the reference issued."""

from __future__ import annotations

import base64
import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.tokens import MAX_TOKEN_CHARS, TunnelToken, decode_token, encode_token
from tests.support.wire.vectors import vectors

CASES = vectors("tokens")


def value(case: dict[str, str]) -> TunnelToken:
    return TunnelToken(
        account_tag=case["account_tag"],
        secret=base64.b64decode(case["secret"]),
        tunnel_id=UUID(case["tunnel_id"]),
        endpoint=case["endpoint"],
    )


@pytest.mark.parametrize("case", CASES)
def test_recorded_tokens_are_read_and_written(case: dict[str, str]) -> None:
    assert decode_token(case["token"]) == value(case)
    assert decode_token(f" {case['token']}\n") == value(case)
    assert encode_token(value(case)) == case["token"]


def test_a_token_shows_no_secret() -> None:
    token = value(CASES[0])
    assert "secret" not in repr(token)
    assert repr(token.secret)[2:-1] not in repr(token)


GOOD: dict[str, Any] = {"a": "acct", "s": "c2VjcmV0", "t": "bed08bd0-7129-6acc-9fb7-b6fd570d1bd2"}


def token_of(fields: object) -> str:
    return base64.b64encode(json.dumps(fields).encode()).decode()


@pytest.mark.parametrize(
    ("token", "sentence"),
    [
        ("", "copy it whole"),
        ("not a token!", "copy it whole"),
        ("c2VjcmV0", "copy it whole"),
        ("é", "copy it whole"),
        (CASES[0]["token"][:-7], "copy it whole"),
        ("x" * (MAX_TOKEN_CHARS + 1), "limit"),
        (base64.b64encode(b"[" * 2_000).decode(), "copy it whole"),
        (token_of([]), "no JSON object"),
        (token_of({}), "lacks its secret"),
        (token_of(GOOD | {"s": None}), "lacks its secret"),
        (token_of(GOOD | {"s": "c2VjcmV0*"}), "secret is not base64"),
        (token_of(GOOD | {"s": "ü"}), "secret is not base64"),
        (token_of(GOOD | {"t": 7}), "lacks its tunnel id"),
        (token_of(GOOD | {"t": "xyz"}), "not a UUID"),
        (token_of(GOOD | {"a": ""}), "lacks its account"),
        (token_of(GOOD | {"e": 1}), "lacks its endpoint"),
    ],
)
def test_each_fault_gets_its_sentence(token: str, sentence: str) -> None:
    with pytest.raises(ProtocolError, match=sentence) as caught:
        decode_token(token)
    assert "c2VjcmV0" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda data: base64.b64encode(data).decode()))
def test_anything_else_raises_only_protocol_errors(text: str) -> None:
    with pytest.raises(ProtocolError):
        decode_token(text)
