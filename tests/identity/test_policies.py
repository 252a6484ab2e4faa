"""Policies: what they decide of a caller, in which order, and which rules are refused when they are made."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from pyconnector.identity.policies.policy import (
    Effect,
    Policy,
    Reason,
    decide,
    decide_bypass,
    parse_group,
    parse_policy,
)
from pyconnector.identity.policies.rules import Caller, Group, PolicyError, parse_conditions, parse_rules
from pyconnector.identity.service_tokens import SecretDigest, ServiceToken

ANYONE: dict[str, Any] = {"everyone": {}}
ANY_TOKEN: dict[str, Any] = {"any_valid_service_token": {}}


def token(token_id: str = "t1", role: str = "", *labels: str) -> ServiceToken:
    return ServiceToken(
        id=token_id, client_id="c", name="agent", secrets=(SecretDigest(sha256=b"x" * 32),), role=role,
        labels=frozenset(labels),
    )  # fmt: skip


def caller(address: str = "192.0.2.7", **known: Any) -> Caller:
    return Caller(address=ipaddress.ip_address(address), **known)


def policy(decision: str, include: list[Any], name: str = "p", **more: Any) -> Policy:
    return parse_policy(name, {"name": name, "decision": decision, "include": include, **more})


def met(policies: list[Policy], who: Caller, groups: dict[str, Group] | None = None) -> tuple[bool, Reason, str]:
    decision = decide(policies, who, groups or {})
    return decision.allowed, decision.reason, decision.policy.name if decision.policy else ""


def test_nothing_that_matches_is_a_no() -> None:
    assert met([], caller()) == (False, Reason.NO_CREDENTIALS, "")
    assert met([], caller(token=token())) == (False, Reason.NO_POLICY, "")


def test_include_is_or_require_is_and_exclude_is_not() -> None:
    rules = policy(
        "non_identity",
        [{"service_token": {"token_id": "t1"}}, {"service_token": {"token_id": "t2"}}],
        require=[{"role": {"role": "reader"}}, {"label": {"label": "team=data"}}],
        exclude=[{"ip": {"ip": "198.51.100.0/24"}}],
    )
    good = token("t2", "reader", "team=data", "more")
    assert met([rules], caller(token=good))[0]
    assert not met([rules], caller("198.51.100.9", token=good))[0]
    assert not met([rules], caller(token=token("t2", "writer", "team=data")))[0]
    assert not met([rules], caller(token=token("t2", "reader")))[0]
    assert not met([rules], caller(token=token("t3", "reader", "team=data")))[0]


def test_service_authentication_comes_before_deny_wherever_it_stands() -> None:
    policies = [policy("deny", [ANYONE], "no"), policy("non_identity", [ANY_TOKEN], "yes")]
    assert met(policies, caller(token=token())) == (True, Reason.POLICY, "yes")
    assert met(policies, caller()) == (False, Reason.DENIED, "no")


def test_first_match_of_deny_and_allow_ends_it() -> None:
    deny = policy("deny", [{"email": {"email": "a@example.com"}}], "no")
    allow = policy("allow", [{"email_domain": {"domain": "Example.com"}}], "yes")
    person = caller(email="A@EXAMPLE.com", user="u")
    assert met([allow, deny], person) == (True, Reason.POLICY, "yes")
    assert met([deny, allow], person) == (False, Reason.DENIED, "no")
    assert not met([allow], caller(email="a@sub.example.com", user="u"))[0]


def test_allow_never_lets_a_service_token_pass() -> None:
    assert met([policy("allow", [ANYONE])], caller(token=token())) == (False, Reason.NO_POLICY, "")


def test_an_address_written_as_ipv6_is_the_ipv4_address() -> None:
    rules = policy("bypass", [{"ip": {"ip": "192.0.2.0/24"}}])
    assert met([rules], caller("::ffff:192.0.2.7"))[0]
    assert not met([rules], caller("::ffff:198.51.100.7"))[0]
    assert not met([rules], Caller())[0]


def test_bypass_is_found_before_credentials_are_looked_at() -> None:
    bypass = policy("bypass", [{"ip": {"ip": "192.0.2.0/24"}}])
    assert decide_bypass([bypass], caller(token=token()), {}) is bypass
    assert decide_bypass([bypass], caller("198.51.100.1"), {}) is None


def test_groups_count_in_every_list() -> None:
    groups = {"g": parse_group("g", {"name": "g", "include": [{"role": {"role": "reader"}}]})}
    rules = policy("non_identity", [ANY_TOKEN], exclude=[{"group": {"id": "g"}}])
    assert not met([rules], caller(token=token(role="reader")), groups)[0]
    assert met([rules], caller(token=token(role="writer")), groups)[0]


def test_people_are_told_apart_by_what_they_logged_in_with() -> None:
    def person(provider: str = "") -> Caller:
        return Caller(user="1", email="a@example.com", provider=provider)

    rules = policy("allow", [{"login_method": {"id": "firm"}}])
    assert met([rules], person("firm"))[0]
    assert not met([rules], person("pin"))[0]
    assert not met([rules], person())[0]
    assert not met([rules], caller(token=token()))[0]


def test_a_missing_or_circular_group_refuses_instead_of_admitting() -> None:
    excluding = policy("non_identity", [ANY_TOKEN], exclude=[{"group": {"id": "g"}}])
    circle = {"g": parse_group("g", {"name": "g", "include": [{"group": {"id": "g"}}]})}
    for groups in ({}, circle):
        assert met([excluding], caller(token=token()), groups) == (False, Reason.BAD_POLICY, "")


@pytest.mark.parametrize(
    "kind",
    ["geo", "email_list", "ip_list", "certificate", "common_name", "external_evaluation", "device_posture", "okta",
     "azureAD", "github-organization", "saml", "auth_method", "linked_app_token", "gsuite",
     "user_risk_score", "cloudflare_account_member", "auth_context"],
)  # fmt: skip
def test_rules_that_need_something_else_are_refused_with_a_sentence(kind: str) -> None:
    with pytest.raises(PolicyError, match=rf"^include\[0\]: the rule {kind} .+\.$"):
        parse_rules([{kind: {}}], "include")


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("everyone", "is no rule"),
        ({"everyone": {}, "ip": {"ip": "::/0"}}, "is no rule"),
        ({"planet": {}}, "there is no kind of rule 'planet'"),
        ({"service_token": "abc"}, r'write the rule as \{"service_token": \{"token_id": "..."\}\}'),
        ({"service_token": {"token_id": ""}}, "token_id is no text"),
        ({"ip": {"ip": "10.0.0.1/8"}}, "is no network"),
        ({"email_domain": {"domain": "@example.com"}}, "leave out the @"),
        ({"everyone": {"x": 1}}, "write the rule as"),
    ],
)
def test_rules_that_make_no_sense_are_refused(rule: Any, text: str) -> None:
    with pytest.raises(PolicyError, match=text):
        parse_rules([rule], "include")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"include": []}, "nobody would be meant"),
        ({"include": [ANY_TOKEN] * 101}, "more than 100"),
        ({"include": "everyone"}, "is no list"),
        ({"decision": "permit", "include": [ANYONE]}, "one of allow, deny"),
        ({"decision": "bypass", "include": [ANY_TOKEN]}, "could never match"),
        ({"decision": "non_identity", "include": [{"email": {"email": "a@b"}}]}, "could never match"),
        ({"decision": "allow", "include": [ANY_TOKEN]}, "only under the decision non_identity"),
        ({"decision": "non_identity", "include": [ANYONE]}, "its decision is bypass"),
    ],
)
def test_policies_that_make_no_sense_are_refused(value: dict[str, Any], text: str) -> None:
    with pytest.raises(PolicyError, match=text):
        parse_policy("p", {"name": "p", "decision": "non_identity", **value})


def test_effects_are_spelt_as_in_the_api() -> None:
    assert [effect.value for effect in Effect] == ["bypass", "non_identity", "deny", "allow"]
    assert len(parse_conditions({"include": [ANYONE], "require": [ANY_TOKEN]}).all) == 2
