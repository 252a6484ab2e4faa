"""The gate: who may pass, as whom, with which headers, and what others are told."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from pyconnector.edge.access.failures import MAX_FAILURES, MAX_SOURCES, FailureCounts, source_of
from pyconnector.edge.access.gate import Passed
from pyconnector.identity.access_token import AccessPolicy, parse_keys, verify
from tests.support.identity.agents import ANY_TOKEN, HOST, NOW, Judge, value_of

COOKIE = b"CF_Authorization="


def claims_of(judge: Judge, passed: Passed, audience: str) -> Any:
    token = value_of(passed.headers, b"Cf-Access-Jwt-Assertion")
    assert token is not None
    _, document = judge.answered(target="/cdn-cgi/access/certs")
    policy = AccessPolicy(issuer="https://access.example.com", keys_url="", audiences=frozenset({audience}))
    return verify(token, policy=policy, keys=parse_keys(json.dumps(document).encode()), now=judge.clock.now)


def test_nobody_known_is_401_and_known_but_not_allowed_403() -> None:
    judge = Judge()
    agent = judge.agent(role="reader")
    judge.application(policies=[judge.policy("p", include=[{"role": {"role": "writer"}}])])
    assert judge.refused() == (401, "no_credentials")
    assert judge.refused(agent.headers) == (403, "no_policy_matched")
    agent.change(role="writer")
    assert judge.passed(agent.headers).decision.policy is not None


def test_a_refusal_is_json_and_names_the_application() -> None:
    judge = Judge()
    audience = judge.application()
    verdict = judge.judge()
    assert not isinstance(verdict, Passed)
    fields = dict(verdict.answer.all_fields("ray-1"))
    assert fields[b"Content-Type"] == b"application/json"
    assert fields[b"Cf-Access-Aud"] == audience.encode()
    assert fields[b"Cf-Access-Domain"] == HOST.encode()
    assert fields[b"WWW-Authenticate"] == b'Bearer realm="tool.example.com"'
    assert fields[b"Cache-Control"] == b"no-store"
    assert json.loads(verdict.answer.body)["ray"] == "ray"


def test_the_service_is_told_who_asks_and_nothing_of_the_secret() -> None:
    judge = Judge()
    audience = judge.application()
    agent = judge.agent(role="reader", labels=["team=data"])
    passed = judge.passed([*agent.headers, (b"Accept", b"*/*")])
    assert [name for name, _ in passed.headers] == [b"Accept", b"Cf-Access-Jwt-Assertion"]
    identity = claims_of(judge, passed, audience)
    assert (identity.kind, identity.name, identity.role) == ("service", agent.client_id, "reader")
    assert identity.labels == {"team=data"}
    assert identity.expires == NOW + 24 * 3600


def test_an_assertion_is_signed_once_and_anew_before_it_ends() -> None:
    judge = Judge()
    judge.application(session_seconds=300)
    agent = judge.agent()
    first = value_of(judge.passed(agent.headers).headers, b"Cf-Access-Jwt-Assertion")
    assert value_of(judge.passed(agent.headers).headers, b"Cf-Access-Jwt-Assertion") == first
    judge.clock.now += 280
    assert value_of(judge.passed(agent.headers).headers, b"Cf-Access-Jwt-Assertion") != first


def test_role_labels_and_owner_go_in_headers_only_when_asked_for() -> None:
    judge = Judge()
    judge.application(identity_headers=True)
    agent = judge.agent(role="reader", labels=["b", "a"], owner="Zoë, data")
    headers = judge.passed([*agent.headers, (b"Cf-Access-Role", b"admin")]).headers
    assert value_of(headers, b"Cf-Access-Role") == b"reader"
    assert value_of(headers, b"Cf-Access-Labels") == b"a,b"
    assert value_of(headers, b"Cf-Access-Owner") == b"Zo%C3%AB, data"


@pytest.mark.parametrize("carrier", ["header", "cookie", "bearer"])
def test_an_issued_token_is_taken_by_header_cookie_or_bearer(carrier: str) -> None:
    judge = Judge()
    judge.application()
    agent = judge.agent()
    token = value_of(judge.passed(agent.headers).headers, b"Cf-Access-Jwt-Assertion") or b""
    shown = {
        "header": (b"cf-access-token", token),
        "cookie": (b"Cookie", b"a=b; " + COOKIE + token + b"; c=d"),
        "bearer": (b"Authorization", b"Bearer " + token),
    }[carrier]
    headers = judge.passed([shown]).headers
    assert value_of(headers, b"Cookie") == (b"a=b; c=d" if carrier == "cookie" else None)
    assert value_of(headers, b"Authorization") is None
    assert token not in [value for name, value in headers if name != b"Cf-Access-Jwt-Assertion"]


def test_a_pair_in_one_header_is_taken_where_the_application_says_so() -> None:
    judge = Judge()
    judge.application(token_header="Authorization")
    agent = judge.agent()
    pair = json.dumps({"cf-access-client-id": agent.client_id, "cf-access-client-secret": agent.secret}).encode()
    assert value_of(judge.passed([(b"authorization", pair)]).headers, b"authorization") is None
    assert judge.refused([(b"X-Other", pair)]) == (401, "no_credentials")
    half = json.dumps({"cf-access-client-id": agent.client_id}).encode()
    assert judge.refused([(b"Authorization", half)]) == (401, "incomplete_credentials")


def test_a_bearer_token_of_the_service_itself_goes_on() -> None:
    judge = Judge()
    judge.application()
    agent = judge.agent()
    own = (b"Authorization", b"Bearer eyJhbGciOiJSUzI1NiIsImtpZCI6IngifQ.e30.x")
    assert value_of(judge.passed([*agent.headers, own]).headers, b"Authorization") == own[1]
    assert judge.refused([own]) == (401, "no_credentials")


def test_bypass_lets_pass_unasked_and_says_nothing_of_anybody() -> None:
    judge = Judge()
    rules = [judge.policy("open", "bypass", include=[{"ip": {"ip": "192.0.2.0/24"}}]), judge.policy("p")]
    judge.application(policies=rules)
    agent = judge.agent()
    headers = judge.passed([*agent.headers, (b"Cf-Access-Jwt-Assertion", b"x")]).headers
    assert headers == []
    assert judge.refused(address="198.51.100.1") == (401, "no_credentials")
    assert judge.passed(agent.headers, address="198.51.100.1").decision.policy is not None


def test_what_has_no_application_passes_unless_the_organization_closes_it() -> None:
    judge = Judge()
    judge.application()
    assert judge.passed(host="other.example.com").application is None
    judge.put("access_organization", "a" * 32, {"auth_domain": "access.example.com", "deny_unmatched": True})
    assert judge.refused(host="other.example.com") == (403, "no_application_matched")
    assert judge.passed(host="management.argotunnel.com").application is None, "it has tokens of its own"


def test_a_missing_policy_or_key_lets_nobody_pass() -> None:
    judge = Judge()
    judge.application(policies=[judge.policy("p"), judge.policy("q")])
    agent = judge.agent()
    judge.state.drop("access_policy", "q")
    assert judge.refused(agent.headers) == (403, "policy_error")
    judge.policy("q")
    for key in list(judge.state.keys):
        judge.state.drop("access_key", key)
    assert judge.refused(agent.headers) == (503, "no_signing_key")


def test_disabled_expired_and_deleted_tokens_are_refused() -> None:
    judge = Judge()
    judge.application()
    agent = judge.agent()
    token = value_of(judge.passed(agent.headers).headers, b"Cf-Access-Jwt-Assertion") or b""
    for change in ({"enabled": False}, {"enabled": True, "expires": NOW}):
        agent.change(**change)
        assert judge.refused(agent.headers) == (401, "invalid_credentials")
        assert judge.refused([(b"Cf-Access-Token", token)]) == (401, "revoked")
    agent.delete()
    assert judge.refused(agent.headers) == (401, "invalid_credentials")
    assert judge.refused([(b"Cf-Access-Token", token)]) == (401, "revoked")


def test_revocation_voids_issued_tokens_and_new_ones_count_at_once() -> None:
    judge = Judge()
    audience = judge.application()
    agent = judge.agent()

    def issued() -> bytes:
        return value_of(judge.passed(agent.headers).headers, b"Cf-Access-Jwt-Assertion") or b""

    old = issued()
    agent.change(valid_after=NOW + 0.25)
    assert judge.refused([(b"Cf-Access-Token", old)]) == (401, "revoked")
    newer = issued()
    judge.passed([(b"Cf-Access-Token", newer)])
    judge.application(valid_after=NOW + 5)
    assert judge.refused([(b"Cf-Access-Token", newer)]) == (401, "revoked")
    assert judge.passed([(b"Cf-Access-Token", issued())]).application is not None
    assert audience == judge.state.applications.met(HOST, "/")[0].audience


def test_keys_overlap_and_end() -> None:
    judge = Judge()
    judge.application()
    agent = judge.agent()
    old = value_of(judge.passed(agent.headers).headers, b"Cf-Access-Jwt-Assertion") or b""
    judge.key(0, "previous", expires=NOW + 7 * 86_400)
    current = judge.key(1, "current")
    judge.key(2, "next")
    judge.passed([(b"Cf-Access-Token", old)])
    _, document = judge.answered(target="/cdn-cgi/access/certs")
    assert len(document["keys"]) == 3
    assert document["public_cert"]["kid"] == current
    judge.clock.now += 7 * 86_400
    assert judge.refused([(b"Cf-Access-Token", old)]) == (401, "invalid_token")
    _, document = judge.answered(target="/cdn-cgi/access/certs")
    assert len(document["keys"]) == 2


def test_failures_of_one_source_are_limited() -> None:
    judge = Judge()
    judge.application()
    agent = judge.agent()
    wrong = [agent.headers[0], (b"CF-Access-Client-Secret", b"wrong")]
    for _ in range(MAX_FAILURES):
        assert judge.refused(wrong) == (401, "invalid_credentials")
    assert judge.refused(wrong) == (429, "too_many_failures")
    assert judge.refused(agent.headers) == (429, "too_many_failures")
    judge.passed(agent.headers, address="192.0.2.8")
    judge.clock.now += 60
    judge.passed(agent.headers)


def test_failures_are_counted_by_network_and_bounded() -> None:
    assert source_of("2001:db8::1") == source_of("2001:db8::ffff") != source_of("2001:db8:0:1::1")
    assert source_of("::ffff:192.0.2.1") == source_of("192.0.2.1")
    counts = FailureCounts()
    for number in range(MAX_SOURCES + 5):
        counts.count(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 0.0)
    assert len(counts) == MAX_SOURCES


def test_own_paths_answer_on_every_host() -> None:
    judge = Judge()
    audience = judge.application()
    agent = judge.agent(role="reader", labels=["x"], owner="o")
    status, identity = judge.answered(agent.headers, target="/cdn-cgi/access/get-identity")
    assert status == 200
    assert identity["common_name"] == agent.client_id
    assert (identity["service_token_id"], identity["role"], identity["ip"]) == (agent.id, "reader", "192.0.2.7")
    assert agent.secret not in json.dumps(identity)
    token = value_of(judge.passed(agent.headers).headers, b"Cf-Access-Jwt-Assertion") or b""
    status, identity = judge.answered([(b"Cookie", COOKIE + token)], target="/cdn-cgi/access/get-identity")
    assert (status, identity["iat"]) == (200, NOW)
    assert judge.refused(target="/cdn-cgi/access/get-identity") == (401, "no_credentials")
    elsewhere = {"target": "/cdn-cgi/access/get-identity", "host": "b.example.com"}
    assert judge.refused([(b"Cf-Access-Token", token)], **elsewhere) == (401, "invalid_token")
    verdict = judge.judge(target="/cdn-cgi/access/logout")
    assert not isinstance(verdict, Passed)
    assert b"Max-Age=0" in dict(verdict.answer.fields)[b"Set-Cookie"]
    assert judge.answered(target="/cdn-cgi/access/nothing")[0] == 404
    assert judge.answered(target="/cdn-cgi/access/session")[0] == 405
    verdict = judge.judge([(b"cf-access-metadata-request", b"true")], method="HEAD")
    assert not isinstance(verdict, Passed)
    assert verdict.answer.status == 200
    fields = dict(verdict.answer.fields)
    assert fields[b"Cf-Access-Aud"] == audience.encode()
    assert fields[b"Cf-Access-Metadata"].count(b".") == 2


def test_a_session_is_narrowed_to_path_and_methods() -> None:
    judge = Judge()
    judge.application()
    agent = judge.agent()
    target = "/cdn-cgi/access/session?path=/api&methods=GET,HEAD&seconds=600"
    status, made = judge.answered(agent.headers, target=target, method="POST")
    assert status == 200
    assert (made["path"], made["methods"], made["expires_at"]) == ("/api", ["GET", "HEAD"], NOW + 600)
    bearer = [(b"Authorization", b"Bearer " + made["token"].encode())]
    assertion = value_of(judge.passed(bearer, target="/api/x?y").headers, b"Cf-Access-Jwt-Assertion")
    assert assertion not in (None, made["token"].encode())
    assert judge.refused(bearer, target="/api", method="POST") == (403, "outside_of_session")
    assert judge.refused(bearer, target="/other") == (403, "outside_of_session")
    judge.clock.now += 600
    assert judge.refused(bearer, target="/api") == (401, "invalid_token")


@pytest.mark.parametrize(
    "query",
    ["seconds=299", "seconds=3601", "seconds=x", "seconds=-600", "path=x", "path=/a/../b", "methods=get", "colour=red",
     "path=/a&path=/b", "&".join(f"a{n}=1" for n in range(20))],
)  # fmt: skip
def test_sessions_that_make_no_sense_are_refused(query: str) -> None:
    judge = Judge()
    judge.application()
    status, answer = judge.answered(judge.agent().headers, target=f"/cdn-cgi/access/session?{query}", method="POST")
    assert status == 400
    assert answer["message"].endswith(".")


def test_a_session_is_made_for_an_application_of_the_host_alone() -> None:
    judge = Judge()
    audience, other = judge.application(), judge.application("other", "other.example.com")
    agent = judge.agent()

    def ask(name: str) -> int:
        return judge.answered(agent.headers, target=f"/cdn-cgi/access/session?audience={name}", method="POST")[0]

    assert (ask(audience), ask(other), ask("x")) == (200, 404, 404)


async def test_what_runs_ends_when_it_may_no_longer_pass() -> None:
    judge = Judge()
    group = {"name": "g", "include": [ANY_TOKEN]}
    judge.put("access_group", "g", group)
    judge.application(policies=[judge.policy("p", include=[{"group": {"id": "g"}}])])
    agents = [judge.agent(f"a{number}", role="reader") for number in range(3)]

    ended: list[str] = []

    def begin(name: str) -> None:
        for agent in agents:
            visit = judge.visit(agent.headers)
            passed = judge.gate.judge(visit)
            assert isinstance(passed, Passed)
            judge.gate.begin(visit, passed, lambda agent=agent: ended.append(f"{name} {agent.value['name']}"))  # type: ignore[misc]

    async def turns() -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    begin("revoked")
    agents[0].delete()
    await turns()
    assert ended == ["revoked a0"]
    agents[1].change(valid_after=NOW)
    await turns()
    assert ended == ["revoked a0", "revoked a1"]
    agents[2].change(name="renamed")
    await turns()
    assert len(ended) == 2
    judge.put("access_group", "g", {"name": "g", "include": [{"role": {"role": "writer"}}]})
    await turns()
    assert ended[2:] == ["revoked renamed"]
    assert len(judge.gate.running) == 0


async def test_many_that_run_are_judged_in_slices() -> None:
    judge = Judge()
    judge.application()
    agent = judge.agent()

    ended: list[int] = []
    visit = judge.visit(agent.headers)
    passed = judge.gate.judge(visit)
    assert isinstance(passed, Passed)
    for number in range(1000):
        judge.gate.begin(visit, passed, lambda number=number: ended.append(number))  # type: ignore[misc]
    agent.delete()
    counts = []
    while len(ended) < 1000:
        await asyncio.sleep(0)
        counts.append(len(ended))
    assert max(later - earlier for earlier, later in zip([0, *counts], counts, strict=False)) <= 200


def test_a_narrowed_session_ends_what_runs_under_it() -> None:
    judge = Judge()
    judge.application()
    target = "/cdn-cgi/access/session?seconds=300"
    _, made = judge.answered(judge.agent().headers, target=target, method="POST")
    visit = judge.visit([(b"Cf-Access-Token", made["token"].encode())])
    passed = judge.gate.judge(visit)
    assert isinstance(passed, Passed)
    ended: list[bool] = []
    judge.gate.begin(visit, passed, lambda: ended.append(True))
    judge.gate.running.end_expired(NOW + 299)
    assert ended == []
    judge.gate.running.end_expired(NOW + 300)
    assert ended == [True]


def test_use_of_a_token_is_told_once_and_kept_until_it_is() -> None:
    judge = Judge()
    judge.application()
    agent = judge.agent()
    judge.passed(agent.headers)
    used = judge.state.take_used(NOW + 5)
    assert used == {agent.id: 5.0}
    judge.state.give_back(used, NOW + 5)
    assert judge.state.take_used(NOW + 6) == {agent.id: 6.0}
    assert judge.state.take_used(NOW + 6) == {}
