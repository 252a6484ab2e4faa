"""What is remembered of a token that was let pass holds for that alone, and for no longer than nothing changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pyconnector.edge.access import recall
from pyconnector.edge.access.failures import MAX_FAILURES
from pyconnector.edge.access.gate import Gate
from pyconnector.edge.access.people import binding_digest
from tests.support.identity.agents import ANY_TOKEN, HOST, NOW, Agent, Headers, Judge, person_token, value_of

ADDRESS = "192.0.2.7"


def scene(**policy: Any) -> tuple[Judge, Agent, Headers]:
    """An application, an agent, and its token, which was let pass once."""
    judge = Judge()
    audience = judge.application(policies=[judge.policy("p", **policy)])
    agent = judge.agent()
    shown = [(b"Cf-Access-Token", issued(judge, agent, audience))]
    judge.passed(shown)
    assert len(judge.gate._recall) == 1
    return judge, agent, shown


def issued(judge: Judge, agent: Agent, audience: str, **claims: Any) -> bytes:
    issuer, token = judge.gate.issuer, judge.state.token(agent.id)
    application = judge.state.applications.of_audience(audience)
    assert issuer is not None
    assert token is not None
    assert application is not None
    return issuer.sign(issuer.claims(token, application, 3600, NOW) | claims)


def test_the_same_request_again_is_not_judged_from_the_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    judge, agent, shown = scene()
    first = judge.passed(shown)
    monkeypatch.setattr(Gate, "_judge_shown", None)  # calling it would raise
    judge.state.take_used(NOW)
    again = judge.passed([*shown, (b"X-Own", b"1")], target="/other", method="POST")
    assert value_of(again.headers, b"X-Own") == b"1"
    assert value_of(again.headers, b"Cf-Access-Token") is None
    assert value_of(again.headers, b"Cf-Access-Jwt-Assertion") == value_of(first.headers, b"Cf-Access-Jwt-Assertion")
    assert (again.caller, again.decision, again.identified) == (first.caller, first.decision, first.identified)
    assert list(judge.state.take_used(NOW)) == [agent.id]  # it was seen all the same
    judge.clock.now += recall.RECALL_SECONDS
    with pytest.raises(TypeError):
        judge.passed(shown)


@pytest.mark.parametrize(
    ("happens", "reason"),
    [
        (lambda judge, agent: agent.delete(), "revoked"),
        (lambda judge, agent: agent.change(enabled=False), "revoked"),
        (lambda judge, agent: agent.change(valid_after=NOW + 1), "revoked"),
        (lambda judge, agent: judge.policy("p", include=[{"role": {"role": "x"}}]), "no_policy_matched"),
        (lambda judge, agent: judge.state.drop("access_policy", "p"), "policy_error"),
        (lambda judge, agent: judge.application(policies=["p"], valid_after=NOW + 1), "revoked"),
    ],
    ids=["deleted", "disabled", "rotated", "policy changed", "policy deleted", "application revoked"],
)
def test_any_change_makes_it_worth_nothing(happens: Callable[[Judge, Agent], object], reason: str) -> None:
    judge, agent, shown = scene()
    happens(judge, agent)
    assert judge.refused(shown)[1] == reason


def test_it_ends_with_the_token_to_the_second() -> None:
    judge = Judge()
    audience = judge.application()
    agent = judge.agent(expires=NOW + 5)
    shown = [(b"Cf-Access-Token", issued(judge, agent, audience))]
    judge.passed(shown)
    judge.clock.now += 5
    assert judge.refused(shown) == (401, "revoked")


def test_it_holds_for_its_address_alone() -> None:
    judge, _, shown = scene(include=[ANY_TOKEN], require=[{"ip": {"ip": f"{ADDRESS}/32"}}])
    assert judge.refused(shown, address="198.51.100.1") == (403, "no_policy_matched")
    for _ in range(MAX_FAILURES):
        judge.gate.failures.count(ADDRESS, NOW)
    assert judge.refused(shown) == (429, "too_many_failures")


def test_it_holds_for_its_application_alone() -> None:
    judge, _, shown = scene()
    judge.application("other", "other.example.com")
    judge.passed(shown)
    assert judge.refused(shown, host="other.example.com") == (401, "invalid_token")


def test_it_does_not_hold_where_a_second_application_has_to_agree() -> None:
    judge, _, shown = scene()
    judge.application("admin", f"{HOST}/admin")
    judge.passed(shown)
    # A service may take this for /admin, so that both applications are asked.
    assert judge.refused(shown, target="/ADMIN") == (401, "invalid_token")


def test_a_cookie_is_not_taken_for_what_was_shown_as_a_header() -> None:
    judge = Judge()
    audience = judge.application(policies=[judge.people()])
    token = person_token(judge.gate, audience, binding=binding_digest(b"right"))
    judge.passed([(b"Cf-Access-Token", token)])
    cookie = b"CF_Authorization=" + token
    assert judge.refused([(b"Cookie", cookie)])[0] == 401
    judge.passed([(b"Cookie", cookie + b"; CF_Binding=right")])
    assert judge.refused([(b"Cookie", cookie + b"; CF_Binding=wrong")])[0] == 401


def test_narrowed_tokens_are_judged_each_time() -> None:
    judge = Judge()
    audience = judge.application()
    narrow = issued(judge, judge.agent(), audience, type="session", methods=["GET"])
    judge.passed([(b"Cf-Access-Token", narrow)])
    assert judge.refused([(b"Cf-Access-Token", narrow)], method="POST") == (403, "outside_of_session")
    assert len(judge.gate._recall) == 0


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recall, "MAX_RECALLED", 2)
    judge, _, shown = scene()
    for number in range(3):
        judge.passed(shown, address=f"192.0.2.{number}")
    assert len(judge.gate._recall) == 2
    assert judge.passed(shown, host=HOST).identified is not None


def test_what_was_decided_under_another_state_is_nothing() -> None:
    judge, _, _ = scene()
    memory = judge.gate._recall
    (key,) = memory._known
    known = memory._known[key]
    assert memory.get(key, known.revision, NOW) is known
    assert memory.get(key, known.revision + 1, NOW) is None
    assert memory.get(key, known.revision, known.until) is None
    memory.put(key, replace(known, revision=7))
    assert memory.get(key, known.revision, NOW) is None
