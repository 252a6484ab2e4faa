"""A person's application token beside a browser: shown by a program, and exchanged for a narrower one."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from pyconnector.edge.access.gate import Stopped
from pyconnector.edge.access.login.login import Login
from pyconnector.edge.access.people import binding_digest
from tests.support.identity.agents import ACCOUNT, HOST, NOW, Judge, person_token, value_of

APPLICATIONS = {"tool": [HOST], "admin": [f"{HOST}/admin"]}
TARGET = "/cdn-cgi/access/session?path=/api&methods=GET&seconds=600"


def claims_of(token: bytes | None) -> dict[str, Any]:
    assert token is not None
    part = token.split(b".")[1]
    found = json.loads(base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4)))
    assert isinstance(found, dict)
    return found


def exchanged(judge: Judge, audience: str, **claims: Any) -> list[tuple[bytes, bytes]]:
    shown = [(b"Cf-Access-Token", person_token(judge.gate, audience, **claims))]
    status, made = judge.answered(shown, target=TARGET, method="POST")
    assert status == 200, made
    return [(b"Authorization", b"Bearer " + made["token"].encode())]


def test_a_persons_token_is_exchanged_for_a_narrower_one() -> None:
    judge = Judge()
    audience = judge.application(policies=[judge.people()])
    narrow = exchanged(judge, audience)
    passed = judge.passed(narrow, target="/api/x")
    assert passed.caller.email == "ann@example.com"
    told = value_of(passed.headers, b"Cf-Access-Jwt-Assertion")
    said = claims_of(told)
    # Services know tokens for applications alone; what they are told is no wider in time, and good in no browser.
    assert (said["type"], said["email"], said["exp"], "binding" in said) == ("app", "ann@example.com", NOW + 600, False)
    assert value_of(judge.passed(narrow, target="/api/y").headers, b"Cf-Access-Jwt-Assertion") is told
    assert judge.refused(narrow, target="/api", method="POST") == (403, "outside_of_session")
    assert judge.refused(narrow, target="/other") == (403, "outside_of_session")
    assert judge.answered(narrow, target=TARGET, method="POST")[1]["reason"] == "outside_of_session"
    judge.clock.now += 600
    assert judge.refused(narrow, target="/api") == (401, "invalid_token")


def test_a_narrowed_token_ends_no_later_than_its_parent() -> None:
    judge = Judge()
    audience = judge.application(policies=[judge.people()])
    narrow = exchanged(judge, audience, exp=int(NOW) + 300)
    judge.clock.now += 300
    assert judge.refused(narrow, target="/api") == (401, "invalid_token")


def test_a_cookie_is_not_exchanged() -> None:
    judge = Judge()
    audience = judge.application(policies=[judge.people()])
    token = person_token(judge.gate, audience, binding=binding_digest(b"right"))
    cookie = [(b"Cookie", b"CF_Authorization=" + token + b"; CF_Binding=right")]
    assert judge.passed(cookie).caller.known
    assert judge.answered(cookie, target=TARGET, method="POST")[0] == 401


def test_a_token_for_another_application_is_not_exchanged() -> None:
    judge = Judge()
    audience = judge.application(policies=[judge.people()])
    other = judge.application("other", f"{HOST}/other", policies=["people"])
    shown = [(b"Cf-Access-Token", person_token(judge.gate, other))]
    status, told = judge.answered(shown, target=f"{TARGET}&audience={audience}", method="POST")
    assert (status, told["reason"]) == (401, "invalid_token")


def test_logging_out_ends_the_session_behind_each_cookie_of_the_host() -> None:
    judge = Judge()
    judge.people()
    found = [judge.application(name, *places, policies=["people"]) for name, places in APPLICATIONS.items()]
    judge.gate.login = Login(judge.gate, None)
    tokens = [person_token(judge.gate, audience, binding=binding_digest(b"right")) for audience in found]
    cookies = b"; ".join(
        b"CF_Authorization_%b=%b; CF_Binding_%b=right" % (audience[:16].encode(), token, audience[:16].encode())
        for audience, token in zip(found, tokens, strict=True)
    )
    judge.application("gone", f"{HOST}/gone", policies=["people"], valid_after=NOW + 1)
    verdict = judge.judge([(b"Cookie", cookies)], target="/cdn-cgi/access/logout", method="POST")
    assert isinstance(verdict, Stopped)
    assert verdict.answer.status == 200
    _, ended = judge.state.news.take()
    assert {claims_of(token)["identity_nonce"] for token in tokens} == set(ended)
    for token in tokens:
        assert judge.refused([(b"Cf-Access-Token", token)])[1] in ("revoked", "invalid_token")


def test_a_person_whom_no_policy_names_exchanges_nothing() -> None:
    judge = Judge()
    audience = judge.application(policies=[judge.people()])
    shown = [(b"Cf-Access-Token", person_token(judge.gate, audience, email="eve@example.net"))]
    assert judge.answered(shown, target=TARGET, method="POST")[0] == 403


@pytest.mark.parametrize(
    "happens",
    [
        lambda judge, _: judge.put("access_user", "u", {"email": "ann@example.com", "valid_after": NOW + 1}),
        lambda judge, _: judge.state.drop("access_identity_provider", "pin"),
        lambda judge, _: judge.application(policies=["people"], valid_after=NOW + 1),
        lambda judge, nonce: judge.put("access_ended_session", nonce, {"expires": NOW + 10_000}),
    ],
    ids=["user revoked", "provider deleted", "application revoked", "session ended"],
)
def test_a_narrowed_token_is_revoked_with_its_parent(happens: Callable[[Judge, str], object]) -> None:
    judge = Judge()
    audience = judge.application(policies=[judge.people()])
    narrow = exchanged(judge, audience)
    nonce = claims_of(narrow[0][1])["identity_nonce"]
    judge.clock.now += 2
    assert judge.passed(narrow, target="/api").caller.known
    happens(judge, nonce)
    assert judge.refused(narrow, target="/api")[0] == 401


def test_what_revokes_a_token_revokes_what_was_narrowed_of_it_later() -> None:
    judge = Judge()
    audience = judge.application(policies=[judge.people()])
    shown = [(b"Cf-Access-Token", person_token(judge.gate, audience))]
    judge.clock.now += 100
    made = judge.answered(shown, target=TARGET, method="POST")[1]
    narrow = [(b"Cf-Access-Token", made["token"].encode())]
    assert judge.passed(narrow, target="/api").caller.known
    judge.application(policies=["people"], valid_after=NOW + 50)
    assert judge.refused(narrow, target="/api") == (401, "revoked")


def test_get_identity_says_who_a_narrowed_token_is() -> None:
    judge = Judge()
    audience = judge.application(policies=[judge.people()])
    narrow = exchanged(judge, audience)
    status, told = judge.answered(narrow, target="/cdn-cgi/access/get-identity")
    assert (status, told["email"], told["account_id"]) == (200, "ann@example.com", ACCOUNT)
