"""Management tokens: what they must say, and who must have signed them."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from pyconnector.identity.management_token import (
    CLOCK_SKEW,
    MAX_TOKEN_CHARS,
    ManagementKey,
    NoManagementToken,
    public_key,
    read_claims,
)
from tests.support.identity.management import KEY, management_token, new_key

NOW = 1_900_000_000.0


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_a_token_says_for_which_tunnel_who_asks_and_for_what() -> None:
    claims = ManagementKey(public_key(KEY)).verify(management_token("t", actor="a"), NOW)
    assert (claims.tunnel_id, claims.account_tag, claims.actor) == ("t", "account", "a")
    assert claims.resources == {"logs"}
    assert claims == read_claims(management_token("t", actor="a"))


@pytest.mark.parametrize(
    "changed",
    [
        {"tun": {"id": "t"}},
        {"tun": {"id": "", "account_tag": "a"}},
        {"tun": {"id": 1, "account_tag": "a"}},
        {"tun": "t"},
        {"actor": {"id": ""}},
        {"actor": None},
        {"exp": "soon"},
        {"exp": True},
        {"iss": 1},
    ],
)
def test_a_token_without_what_it_must_say_is_none(changed: dict[str, Any]) -> None:
    with pytest.raises(NoManagementToken):
        read_claims(management_token("t", **changed))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.b",
        "a.b.c",
        "..",
        f"{part({'alg': 'none'})}.{part({'tun': {}})}.x",
        f"{part({'alg': 'HS256'})}.{part({'tun': {'id': 't', 'account_tag': 'a'}, 'actor': {'id': 'a'}})}.x",
        f"{part([])}.{part({})}.x",
        "a" * (MAX_TOKEN_CHARS + 1),
    ],
)
def test_what_is_no_token_is_said_without_showing_it(text: str) -> None:
    with pytest.raises(NoManagementToken) as error:
        read_claims(text)
    assert not text or text not in str(error.value)


def test_nobody_but_the_control_plane_signs() -> None:
    key = ManagementKey(public_key(KEY))
    with pytest.raises(NoManagementToken, match="signature"):
        key.verify(management_token("t", key=new_key()), NOW)
    head, body, signature = management_token("t").split(".")
    with pytest.raises(NoManagementToken, match="signature"):
        key.verify(f"{head}.{management_token('other').split('.')[1]}.{signature}", NOW)
    with pytest.raises(NoManagementToken, match="signature"):
        key.verify(f"{head}.{body}.AAAA", NOW)


def test_a_token_ends() -> None:
    key = ManagementKey(public_key(KEY))
    key.verify(management_token("t", exp=NOW), NOW + CLOCK_SKEW - 1)
    with pytest.raises(NoManagementToken, match="expired"):
        key.verify(management_token("t", exp=NOW), NOW + CLOCK_SKEW)


@pytest.mark.parametrize("document", [{}, {"kty": "EC", "crv": "P-256", "x": "A", "y": "A"}, {"kty": "RSA"}])
def test_what_is_no_key_is_said(document: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="no key"):
        ManagementKey(document)


def test_the_private_part_of_a_key_stays() -> None:
    assert set(public_key(KEY)) == {"kty", "crv", "x", "y"}
