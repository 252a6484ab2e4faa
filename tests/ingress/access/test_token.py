"""Which Access tokens pass, and that everything else does not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwk

from pyconnector.identity.access_token import AccessDenied, AccessPolicy, UnknownKey, UnusableKeys, parse_keys, verify
from pyconnector.identity.access_token.token import CLOCK_SKEW, MAX_TOKEN_BYTES
from tests.support.identity.access import AUDIENCE, ISSUER, NOW, Team, unsigned

POLICY = AccessPolicy(issuer=ISSUER, keys_url=f"{ISSUER}/cdn-cgi/access/certs", audiences=frozenset({AUDIENCE}))
TEAM = Team()
KEYS = parse_keys(TEAM.document())


def test_a_user_token_names_the_user() -> None:
    identity = verify(TEAM.token(), policy=POLICY, keys=KEYS, now=NOW)
    assert (identity.kind, identity.name) == ("user", "dev@acme.example")


def test_an_es256_token_passes_too() -> None:
    assert verify(TEAM.token(key=TEAM.ec), policy=POLICY, keys=KEYS, now=NOW).kind == "user"


def test_a_service_token_names_its_client_id() -> None:
    token = TEAM.token(sub="", email=None, common_name="e367826f93b8d71185e03fe518aff3b4.access")
    identity = verify(token, policy=POLICY, keys=KEYS, now=NOW)
    assert (identity.kind, identity.name) == ("service", "e367826f93b8d71185e03fe518aff3b4.access")


def test_nbf_may_be_missing() -> None:
    assert verify(TEAM.token(nbf=None), policy=POLICY, keys=KEYS, now=NOW).kind == "user"


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"iss": "https://other.cloudflareaccess.com"}, "another team"),
        ({"iss": ISSUER + "/"}, "another team"),
        ({"iss": None}, "another team"),
        ({"aud": ["else"]}, "another application"),
        ({"aud": []}, "another application"),
        ({"aud": None}, "another application"),
        ({"aud": {AUDIENCE: 1}}, "another application"),
        ({"type": "org"}, "not an application token"),
        ({"type": None}, "not an application token"),
        ({"exp": NOW - CLOCK_SKEW - 1}, "expired"),
        ({"exp": None}, "expired"),
        ({"exp": True}, "expired"),
        ({"exp": "9999999999"}, "expired"),
        ({"exp": 10**400}, "expired"),
        ({"exp": -(10**400)}, "expired"),
        ({"exp": float("inf")}, "expired"),
        ({"exp": float("nan")}, "expired"),
        ({"nbf": 10**400}, "not valid yet"),
        ({"nbf": -(10**400)}, "not valid yet"),
        ({"nbf": NOW + CLOCK_SKEW + 1}, "not valid yet"),
        ({"nbf": "soon"}, "not valid yet"),
        ({"sub": "", "email": None}, "names nobody"),
        ({"sub": "a\r\nb", "email": None}, "names nobody"),
    ],
)
def test_a_claim_that_does_not_fit_refuses(claims: dict[str, Any], reason: str) -> None:
    with pytest.raises(AccessDenied, match=reason):
        verify(TEAM.token(**claims), policy=POLICY, keys=KEYS, now=NOW)


@pytest.mark.parametrize("offset", [CLOCK_SKEW - 1, -(CLOCK_SKEW - 1)])
def test_clocks_may_differ_a_little(offset: float) -> None:
    token = TEAM.token(exp=NOW, nbf=NOW)
    assert verify(token, policy=POLICY, keys=KEYS, now=NOW + offset).kind == "user"


def test_a_key_that_the_team_does_not_publish_is_told_apart() -> None:
    stranger = jwk.RSAKey.generate_key(2048, {"kid": "rsa-2"})
    with pytest.raises(UnknownKey):
        verify(TEAM.token(key=stranger), policy=POLICY, keys=KEYS, now=NOW)


def test_a_stranger_under_a_known_key_id_is_refused() -> None:
    stranger = jwk.RSAKey.generate_key(2048, {"kid": "rsa-1"})
    with pytest.raises(AccessDenied, match="signature"):
        verify(TEAM.token(key=stranger), policy=POLICY, keys=KEYS, now=NOW)


def test_the_public_key_is_no_hmac_secret() -> None:
    claims = json.loads(_payload(TEAM.token()))
    forged = unsigned({"alg": "HS256", "kid": "rsa-1"}, claims)
    head = forged.rsplit(b".", 1)[0]
    digest = hmac.new(TEAM.rsa.as_pem(private=False), head, hashlib.sha256).digest()
    with pytest.raises(AccessDenied, match="RS256 or ES256"):
        verify(unsigned({"alg": "HS256", "kid": "rsa-1"}, claims, digest), policy=POLICY, keys=KEYS, now=NOW)


@pytest.mark.parametrize("algorithm", ["none", "None", "RS384", "PS256", None, 5, ["RS256"]])
def test_other_algorithms_are_refused(algorithm: object) -> None:
    claims = json.loads(_payload(TEAM.token()))
    with pytest.raises(AccessDenied, match="RS256 or ES256"):
        verify(unsigned({"alg": algorithm, "kid": "rsa-1"}, claims), policy=POLICY, keys=KEYS, now=NOW)


def test_an_algorithm_must_fit_its_key() -> None:
    claims = json.loads(_payload(TEAM.token()))
    with pytest.raises(AccessDenied, match="does not fit its key"):
        verify(unsigned({"alg": "ES256", "kid": "rsa-1"}, claims), policy=POLICY, keys=KEYS, now=NOW)


@pytest.mark.parametrize("extra", [{"crit": ["exp"]}, {"b64": False}])
def test_extensions_are_refused(extra: dict[str, object]) -> None:
    claims = json.loads(_payload(TEAM.token()))
    with pytest.raises(AccessDenied, match="extensions"):
        verify(unsigned({"alg": "RS256", "kid": "rsa-1", **extra}, claims), policy=POLICY, keys=KEYS, now=NOW)


@pytest.mark.parametrize(
    "token",
    [b"", b"a", b"a.b", b"a.b.c", b"..", b"a.b.c.d", b"{}.{}.x", b"a" * (MAX_TOKEN_BYTES + 1), b"bnVsbA.bnVsbA.eA"],
)
def test_what_is_no_token_is_refused(token: bytes) -> None:
    with pytest.raises(AccessDenied):
        verify(token, policy=POLICY, keys=KEYS, now=NOW)


@given(st.data())
def test_a_changed_byte_never_passes(data: st.DataObject) -> None:
    token = _GOOD
    at = data.draw(st.integers(0, len(token) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != token[at]))
    changed = token[:at] + bytes([byte]) + token[at + 1 :]
    try:
        verify(changed, policy=POLICY, keys=KEYS, now=NOW)
    except AccessDenied:
        return
    # The last character of a part has bits that encode nothing: the very same signature may be spelt differently.
    assert at in {len(token) - 1}


_GOOD = TEAM.token()


def _payload(token: bytes) -> bytes:
    part = token.split(b".")[1]
    return base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": []}',
        b'{"keys": [1, {"kid": "a"}]}',
        b"[" * 100_000,
        b" " * 300_000,
    ],
)
def test_a_document_without_keys_is_a_problem(document: bytes) -> None:
    with pytest.raises(UnusableKeys):
        parse_keys(document)


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
def test_a_weak_rsa_key_is_passed_over() -> None:
    weak = jwk.RSAKey.generate_key(1024, {"kid": "weak"})
    document = TEAM.document(weak)
    with pytest.raises(UnusableKeys):
        parse_keys(document)
