"""What attackers try: confused and replayed tokens, spellings, several credentials, spoofed headers, injection."""

from __future__ import annotations

import base64
import json
import logging
from typing import Any

import pytest

from pyconnector.identity.access_token.signing import load_key, service_claims, sign
from tests.identity.test_path_spellings import SPELLINGS_OF_ADMIN
from tests.support.identity.access import unsigned
from tests.support.identity.agents import HOST, NOW, Agent, Judge, key_pem, value_of


@pytest.fixture
def judge() -> Judge:
    made = Judge()
    made.application()
    return made


def claims(judge: Judge, agent: Agent, **more: Any) -> dict[str, Any]:
    audience = judge.state.applications.met(HOST, "/")[0].audience
    token = judge.state.tokens[agent.client_id]
    return service_claims(token, issuer="https://access.example.com", audience=audience, now=NOW, seconds=3600) | more


def show(token: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"Cf-Access-Token", token)]


def test_confused_tokens_are_refused(judge: Judge) -> None:
    agent = judge.agent()
    key, stranger = load_key(key_pem(0)), load_key(key_pem(9))
    good = sign(key, claims(judge, agent))
    judge.passed(show(good))
    header, body, signature = good.split(b".")
    other = judge.application("other", "other.example.com")
    for token in (
        unsigned({"alg": "none", "kid": key.id, "typ": "JWT"}, claims(judge, agent)),
        unsigned({"alg": "HS256", "kid": key.id, "typ": "JWT"}, claims(judge, agent)),
        sign(stranger, claims(judge, agent)),
        sign(key, claims(judge, agent, type="org")),
        sign(key, claims(judge, agent, type="match")),
        sign(key, claims(judge, agent, iss="https://evil.example.com")),
        sign(key, claims(judge, agent, aud=[other])),
        sign(key, claims(judge, agent, aud=[])),
        sign(key, claims(judge, agent, aud=["x", other])),
        sign(key, claims(judge, agent, exp=int(NOW) - 61)),
        sign(key, claims(judge, agent, exp="never")),
        sign(key, claims(judge, agent, common_name=None)),
        b".".join((header, body, signature[:-2])),
        b".".join((header, body)),
        b"." * 3,
        b"x" * 20_000,
    ):
        status, reason = judge.refused(show(token))
        assert (status, reason) in {(401, "invalid_token"), (401, "revoked")}, token[:80]


def test_a_token_of_one_application_opens_no_other(judge: Judge) -> None:
    judge.application("other", "other.example.com")
    agent = judge.agent()
    token = value_of(judge.passed(agent.headers).headers, b"Cf-Access-Jwt-Assertion") or b""
    assert judge.refused(show(token), host="other.example.com") == (401, "invalid_token")


def test_a_token_of_another_mesh_is_worth_nothing(judge: Judge) -> None:
    elsewhere = Judge()
    elsewhere.put("access_organization", "b" * 32, {"auth_domain": "access.other.example", "deny_unmatched": False})
    elsewhere.application()
    token = value_of(elsewhere.passed(elsewhere.agent().headers).headers, b"Cf-Access-Jwt-Assertion") or b""
    judge.agent()
    assert judge.refused(show(token)) == (401, "invalid_token")


def test_a_narrowed_token_cannot_be_widened(judge: Judge) -> None:
    agent = judge.agent()
    target = "/cdn-cgi/access/session?path=/api&methods=GET&seconds=300"
    _, made = judge.answered(agent.headers, target=target, method="POST")
    narrow = show(made["token"].encode())
    wider = "/cdn-cgi/access/session?seconds=3600"
    assert judge.refused(narrow, target=wider, method="POST") == (403, "outside_of_session")
    header, body, signature = made["token"].encode().split(b".")
    said = json.loads(base64.urlsafe_b64decode(body + b"=="))
    for change in ({"methods": ["POST"]}, {"path": ""}, {"type": "app"}, {"exp": int(NOW) + 9999}):
        forged = base64.urlsafe_b64encode(json.dumps(said | change).encode()).rstrip(b"=")
        assert judge.refused(show(b".".join((header, forged, signature))), target="/api") == (401, "invalid_token")
    for path in ("/api/../admin", "/api/%2e%2e/admin", "/api/..;/admin", "//api/../x", "/API"):
        assert judge.refused(narrow, target=path) == (403, "outside_of_session")


def test_a_narrowed_token_dies_with_its_parent(judge: Judge) -> None:
    agent = judge.agent()
    token = value_of(judge.passed(agent.headers).headers, b"Cf-Access-Jwt-Assertion") or b""
    judge.clock.now += 100
    _, made = judge.answered(show(token), target="/cdn-cgi/access/session", method="POST")
    narrow = show(made["token"].encode())
    judge.passed(narrow)
    # Voids the parent, which is older, though not what was issued after that moment.
    agent.change(valid_after=NOW + 50)
    assert judge.refused(narrow) == (401, "revoked")


def test_a_cookie_makes_no_session(judge: Judge) -> None:
    token = value_of(judge.passed(judge.agent().headers).headers, b"Cf-Access-Jwt-Assertion") or b""
    cookie = [(b"Cookie", b"CF_Authorization=" + token)]
    assert judge.refused(cookie, target="/cdn-cgi/access/session", method="POST") == (401, "no_credentials")


@pytest.mark.parametrize("raw", [*SPELLINGS_OF_ADMIN, "/ADMIN", "/%41dmin", "/x/..%2fadmin", "/admin%00", "/admin?x=1"])
def test_no_spelling_gets_past_a_guarded_path(raw: str) -> None:
    judge = Judge()
    judge.application("admin", f"{HOST}/admin")
    judge.application("open", HOST, policies=[judge.policy("everybody", "bypass", include=[{"everyone": {}}])])
    assert judge.passed(target="/about").decision.reason.value == "bypass"
    assert judge.refused(target=raw)[0] == 401


def test_a_token_of_the_open_part_opens_no_spelling_of_the_guarded_one() -> None:
    judge = Judge()
    judge.application("admin", f"{HOST}/admin", policies=[judge.policy("few", include=[{"role": {"role": "root"}}])])
    judge.application("site", HOST)
    agent = judge.agent()
    judge.passed(agent.headers, target="/page")
    for raw in ("/admin", "//admin", "/x/../admin", "/%61dmin"):
        assert judge.refused(agent.headers, target=raw) == (403, "no_policy_matched")


def test_several_credentials_at_once_are_refused(judge: Judge) -> None:
    agent, other = judge.agent(), judge.agent("agent-02")
    token = value_of(judge.passed(agent.headers).headers, b"Cf-Access-Jwt-Assertion") or b""
    bearer = (b"Authorization", b"Bearer " + token)
    cookie = (b"Cookie", b"CF_Authorization=" + token)
    for headers in (
        [*agent.headers, *other.headers],
        [*agent.headers, agent.headers[1]],
        [*agent.headers, *show(token)],
        [*agent.headers, bearer],
        [*agent.headers, cookie],
        [*show(token), cookie],
        [bearer, bearer],
        [(b"Cookie", b"CF_Authorization=x; CF_Authorization=" + token)],
        [cookie, cookie],
        [agent.headers[0], *show(token)],
    ):
        assert judge.refused(headers) == (401, "several_credentials"), headers
    assert judge.refused(agent.headers[:1]) == (401, "incomplete_credentials")
    assert judge.refused(agent.headers[1:]) == (401, "incomplete_credentials")
    assert judge.refused([agent.headers[0], (b"cf-access-client-secret", b"")]) == (401, "incomplete_credentials")


def test_json_with_a_name_twice_is_incomplete() -> None:
    judge = Judge()
    judge.application(token_header="X-Token")
    agent = judge.agent()
    first, second = '"cf-access-client-id":"x"', f'"cf-access-client-id":"{agent.client_id}"'
    twice = f'{{{first},{second},"cf-access-client-secret":"{agent.secret}"}}'
    assert judge.refused([(b"X-Token", twice.encode())]) == (401, "incomplete_credentials")


@pytest.mark.parametrize(
    "name",
    [b"Cf-Access-Jwt-Assertion", b"cf_access_jwt_assertion", b"CF-ACCESS-AUTHENTICATED-USER-EMAIL", b"cf-access-role",
     b"Cf_Access-Labels", b"cF-Access-Owner"],
)  # fmt: skip
def test_what_only_the_edge_may_say_is_taken_out_everywhere(judge: Judge, name: bytes) -> None:
    spoofed = [(name, b"root"), (b"Accept", b"*/*")]
    assert judge.passed(spoofed, host="unguarded.example.com").headers == [(b"Accept", b"*/*")]
    headers = judge.passed([*judge.agent().headers, *spoofed]).headers
    assert [key for key, _ in headers] == [b"Accept", b"Cf-Access-Jwt-Assertion"]
    assert b"root" not in [value for _, value in headers]


def test_spent_credentials_never_reach_the_service_in_any_spelling(judge: Judge) -> None:
    agent = judge.agent()
    odd = [(b"cf_access_client_secret", agent.secret.encode()), (b"Cf_Access_Token", b"x")]
    headers = judge.passed([*agent.headers, *odd]).headers
    assert agent.secret.encode() not in b"".join(value for _, value in headers)
    assert [key for key, _ in headers] == [b"Cf-Access-Jwt-Assertion"]


def test_unknown_ids_and_wrong_secrets_look_alike(judge: Judge) -> None:
    agent = judge.agent()
    wrong = [agent.headers[0], (b"Cf-Access-Client-Secret", b"x" * 54)]
    unknown = [(b"Cf-Access-Client-Id", b"0" * 32 + b".access"), agent.headers[1]]
    answers = []
    for headers in (wrong, unknown):
        verdict = judge.judge(headers)
        assert not hasattr(verdict, "headers")
        answers.append(verdict.answer)
    assert answers[0] == answers[1]


def test_nothing_that_a_visitor_sends_comes_back_or_into_the_log(
    judge: Judge, caplog: pytest.LogCaptureFixture
) -> None:
    agent = judge.agent()
    caplog.set_level(logging.DEBUG)
    for headers in (
        [(b"Cf-Access-Client-Id", b"evil\x1b[31m"), (b"Cf-Access-Client-Secret", agent.secret.encode())],
        show(b"evil.evil.evil"),
    ):
        verdict = judge.judge(headers, target='/x"><script>?evil')
        text = repr(verdict) + caplog.text
        assert "evil" not in verdict.answer.body.decode()  # type: ignore[union-attr]
        assert agent.secret not in text
        assert "script" not in text


def test_own_paths_are_not_open_redirects_or_readable_across_sites(judge: Judge) -> None:
    for target in ("/cdn-cgi/access/logout?redirect_url=https://evil.example", "/cdn-cgi/access/login?x"):
        verdict = judge.judge(target=target)
        fields = dict(verdict.answer.fields)  # type: ignore[union-attr]
        assert b"Location" not in fields
        assert b"Access-Control-Allow-Origin" not in fields


def test_a_host_that_was_rebound_meets_the_application_of_its_name(judge: Judge) -> None:
    judge.put("access_organization", "a" * 32, {"auth_domain": "access.example.com", "deny_unmatched": True})
    agent = judge.agent()
    token = value_of(judge.passed(agent.headers).headers, b"Cf-Access-Jwt-Assertion") or b""
    for host in ("evil.example.net", "127.0.0.1", "tool.example.com.evil.net"):
        assert judge.refused([(b"Cookie", b"CF_Authorization=" + token)], host=host) == (403, "no_application_matched")
