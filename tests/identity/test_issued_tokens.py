"""Tokens that we issue: their form, that our own verifier takes them, and what narrowing leaves of them."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from pyconnector.identity.access_token import AccessDenied, AccessPolicy, UnknownKey, parse_keys, verify
from pyconnector.identity.access_token.scope import ScopeError, is_within, parse_scope
from pyconnector.identity.access_token.signing import (
    SigningKey,
    load_key,
    narrowed_claims,
    public_jwk,
    service_claims,
    sign,
)
from pyconnector.identity.access_token.token import signed_claims
from pyconnector.identity.service_tokens import SecretDigest, ServiceToken
from tests.identity.test_path_spellings import SPELLINGS_OF_ADMIN
from tests.support.identity.access import unsigned

NOW = 1_800_000_000.0
ISSUER = "https://mesh.example.com"
AUDIENCE = "ab" * 32
TOKEN = ServiceToken(
    id="t", client_id="0" * 32 + ".access", name="agent-01", secrets=(SecretDigest(sha256=b"x" * 32),),
    role="reader", labels=frozenset({"b", "a"}), owner="Data team",
)  # fmt: skip


def pem(private: Any) -> str:
    encoded: bytes = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return encoded.decode()


@pytest.fixture(scope="module")
def keys() -> list[SigningKey]:
    return [load_key(pem(rsa.generate_private_key(65537, 2048))) for _ in range(2)]


def document(*keys: SigningKey) -> bytes:
    return json.dumps({"keys": [public_jwk(key) for key in keys]}).encode()


def policy(audience: str = AUDIENCE, issuer: str = ISSUER) -> AccessPolicy:
    return AccessPolicy(issuer=issuer, keys_url="", audiences=frozenset({audience}))


def claims(**more: Any) -> dict[str, Any]:
    return service_claims(TOKEN, issuer=ISSUER, audience=AUDIENCE, now=NOW, seconds=3600) | more


def test_the_header_is_byte_for_byte_what_clients_write_again(keys: list[SigningKey]) -> None:
    header = base64.urlsafe_b64decode(sign(keys[0], claims()).split(b".")[0] + b"==")
    assert re.fullmatch(rb'\{"alg":"RS256","kid":"[0-9a-f]{64}","typ":"JWT"\}', header)


def test_our_verifier_takes_what_we_issue(keys: list[SigningKey]) -> None:
    found = verify(sign(keys[1], claims()), policy=policy(), keys=parse_keys(document(*keys)), now=NOW)
    assert (found.kind, found.name, found.role) == ("service", TOKEN.client_id, "reader")
    assert found.labels == {"a", "b"}
    assert found.token_name == TOKEN.name == "agent-01"
    assert found.expires == NOW + 3600


def test_claims_are_those_of_a_service_token(keys: list[SigningKey]) -> None:
    said = signed_claims(sign(keys[0], claims()), parse_keys(document(keys[0])))
    custom = {"name": "agent-01", "role": "reader", "labels": ["a", "b"], "owner": "Data team"}
    assert said == {
        "type": "app", "aud": [AUDIENCE], "iss": ISSUER, "common_name": TOKEN.client_id, "sub": "",
        "iat": int(NOW), "exp": int(NOW) + 3600, "custom": custom,
    }  # fmt: skip


def test_confused_tokens_are_refused(keys: list[SigningKey]) -> None:
    published = parse_keys(document(keys[0]))
    good = sign(keys[0], claims())
    header, body, signature = good.split(b".")
    other = base64.urlsafe_b64encode(json.dumps(claims(aud=["x"])).encode()).rstrip(b"=")
    hmac_header = {"alg": "HS256", "kid": keys[0].id, "typ": "JWT"}
    for token in (
        unsigned({"alg": "none", "kid": keys[0].id}, claims()),
        unsigned(hmac_header, claims()),
        b".".join((header, other, signature)),
        header + b"." + body + b".",
        sign(SigningKey(id=keys[0].id, private=keys[1].private), claims()),
        sign(keys[0], claims(type="org")),
        sign(keys[0], claims(type="session")),
        sign(keys[0], claims(iss="https://other.example.com")),
        sign(keys[0], claims(aud=["cd" * 32])),
        sign(keys[0], claims(exp=int(NOW) - 61)),
    ):
        with pytest.raises(AccessDenied):
            verify(token, policy=policy(), keys=published, now=NOW)
    with pytest.raises(UnknownKey):
        verify(sign(keys[1], claims()), policy=policy(), keys=published, now=NOW)


def test_keys_that_are_none_are_refused() -> None:
    for text in (
        "",
        "no key",
        pem(ec.generate_private_key(ec.SECP256R1())),
        pem(rsa.generate_private_key(65537, 1024)),
    ):
        with pytest.raises(ValueError, match="signing key"):
            load_key(text)


def test_a_narrowed_token_ends_with_its_parent_and_remembers_it() -> None:
    parent = claims()
    made = narrowed_claims(parent, now=NOW + 3500, seconds=3600, path="/x", methods=("GET",), number="1")
    assert made["exp"] == parent["exp"]
    assert (made["type"], made["path"], made["methods"], made["jti"]) == ("session", "/x", ["GET"], "1")
    assert (made["iat"], made["parent_iat"]) == (int(NOW) + 3500, int(NOW))
    assert made["common_name"] == TOKEN.client_id


@pytest.mark.parametrize(
    ("method", "path", "within"),
    [
        ("GET", "/x", True), ("GET", "/x/y?z=/a", True), ("HEAD", "/x/", True), ("POST", "/x", False),
        ("get", "/x", False), ("GET", "/", False), ("GET", "/xy", False), ("GET", "/X", False),
        ("GET", "/x/../y", False), ("GET", "/x/%2e%2e/y", False), ("GET", "/x/..%2fy", False),
        ("GET", "/x/..;/y", False), ("GET", "/x/" + "a/" * 5000, False),
    ],
)  # fmt: skip
def test_a_narrowed_token_serves_its_path_and_methods_alone(method: str, path: str, within: bool) -> None:
    assert is_within({"path": "/x", "methods": ["GET", "HEAD"]}, method, path) is within


def test_a_narrowed_token_without_path_or_methods_is_not_narrowed_in_them() -> None:
    assert is_within({}, "DELETE", "/anything")
    assert not is_within({"path": 1}, "GET", "/")
    assert not is_within({"methods": "GET"}, "GET", "/")


def test_scopes_are_read_strictly() -> None:
    assert parse_scope("/a/b/", "GET,HEAD,GET") == ("/a/b", ("GET", "HEAD"))
    assert parse_scope("/", "") == ("", ())
    for path, methods in (
        *((spelling, "") for spelling in SPELLINGS_OF_ADMIN),
        ("a", ""), ("/a?b", ""), ("/" + "a" * 1024, ""), ("", "get"), ("", "GET,"),
        ("", ",".join("A" * n for n in range(1, 18))),
    ):  # fmt: skip
        with pytest.raises(ScopeError):
            parse_scope(path, methods)


def test_an_identity_is_matched_by_what_its_token_says(keys: list[SigningKey]) -> None:
    found = verify(sign(keys[0], claims()), policy=policy(), keys=parse_keys(document(keys[0])), now=NOW)
    for allowed in ("role:reader", "label:a", f"token:{TOKEN.client_id}"):
        assert found.is_any_of(["role:nobody", allowed])
    for other in ("role:", "role:writer", "label:c", "token:reader", "email:reader", "reader", ""):
        assert not found.is_any_of([other])
    assert not found.is_any_of([])
