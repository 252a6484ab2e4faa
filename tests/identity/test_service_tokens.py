"""Service tokens: forms of secrets, digests, and the comparison that tells nothing."""

from __future__ import annotations

import hashlib
import hmac
import os

import pytest

from pyconnector.identity.service_tokens import (
    ENTROPY_BYTES,
    SECRET_PATTERN,
    SecretDigest,
    ServiceToken,
    check_names,
    digest,
    fits,
    is_client_id,
    is_secret,
    make_older_secret,
    make_secret,
)

SECRET = make_secret(bytes(range(ENTROPY_BYTES)))


def token(*secrets: SecretDigest, **fields: object) -> ServiceToken:
    secrets = secrets or (SecretDigest(sha256=digest(SECRET)),)
    return ServiceToken(id="t", client_id="c" * 32 + ".access", name="n", secrets=secrets, **fields)  # type: ignore[arg-type]


def test_both_forms_of_secrets_are_made_and_known() -> None:
    for _ in range(200):
        newer, older = make_secret(os.urandom(ENTROPY_BYTES)), make_older_secret(os.urandom(ENTROPY_BYTES))
        assert is_secret(newer)
        assert len(newer) == 6 + 40 + 8
        assert is_secret(older)
        assert len(older) == 64
    assert SECRET_PATTERN.search(f"a log line with {newer} and {older}.")


def test_a_mistyped_secret_is_recognised_by_its_checksum() -> None:
    other = "A" if SECRET[10] != "A" else "B"
    assert not is_secret(SECRET[:10] + other + SECRET[11:])
    assert not is_secret(SECRET[:-1])
    assert not is_secret("é" * 54)


def test_secrets_need_all_of_their_randomness() -> None:
    for make in (make_secret, make_older_secret):
        with pytest.raises(ValueError, match="48 random bytes"):
            make(b"short")


def test_only_the_right_secret_fits() -> None:
    assert fits(token(), SECRET, now=0.0)
    assert not fits(token(), SECRET + "0", now=0.0)
    assert not fits(token(), "", now=0.0)
    assert not fits(None, SECRET, now=0.0)


def test_a_rotated_secret_lives_until_its_grace_ends() -> None:
    old, new = make_secret(os.urandom(ENTROPY_BYTES)), SECRET
    rotated = token(SecretDigest(sha256=digest(new)), SecretDigest(sha256=digest(old), expires=100.0))
    assert fits(rotated, old, now=99.9)
    assert not fits(rotated, old, now=100.0)
    assert fits(rotated, new, now=100.0)


def test_disabling_or_expiry_kills_every_secret() -> None:
    assert not fits(token(enabled=False), SECRET, now=0.0)
    assert not fits(token(expires=10.0), SECRET, now=10.0)
    assert fits(token(expires=10.0), SECRET, now=9.9)


def test_comparison_is_constant_time_and_the_same_for_unknown_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []

    def watched(first: bytes, second: bytes) -> bool:
        compared.append(len(first) + len(second))
        return first == second

    monkeypatch.setattr(hmac, "compare_digest", watched)
    two = token(SecretDigest(sha256=digest(SECRET)), SecretDigest(sha256=digest("x"), expires=9.0))
    for secret in (SECRET, "x", "wrong", SECRET * 100):
        compared.clear()
        fits(two, secret, now=0.0)
        assert compared == [64, 64]  # digests of equal length, never cut short by a match
    compared.clear()
    fits(None, SECRET, now=0.0)
    assert compared == [64]


def test_no_secret_shows_in_a_repr() -> None:
    shown = repr(token())
    assert hashlib.sha256(SECRET.encode()).hexdigest()[:8] not in shown
    assert "sha256" not in shown


def test_client_ids_have_one_form() -> None:
    assert is_client_id("0" * 32 + ".access")
    for wrong in ("0" * 31 + ".access", "0" * 32, "G" * 32 + ".access", "0" * 32 + ".access\n"):
        assert not is_client_id(wrong)


@pytest.mark.parametrize(
    ("role", "labels", "owner"),
    [
        ("a b", [], ""),
        ("a\r\nX: y", [], ""),
        ("", [""], ""),
        ("", ["x"] * 21, ""),
        ("x" * 65, [], ""),
        ("", [], "a\nb"),
    ],
)
def test_names_that_could_break_a_header_are_refused(role: str, labels: list[str], owner: str) -> None:
    check_names("reader", ["team=data", "a/b"], "An owner")
    with pytest.raises(ValueError, match="has"):
        check_names(role, labels, owner)
