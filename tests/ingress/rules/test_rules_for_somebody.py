"""Rules of one hostname that differ by who asks (`identity`)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pyconnector.identity.access_token import Identity
from pyconnector.ingress import Ingress, IngressError, Match, explain, parse_ingress, parse_remote_configuration
from pyconnector.ingress.config.local_configuration import local_configuration
from pyconnector.ingress.config.warp_routing import WarpRouting
from pyconnector.ingress.rules.difference import difference
from pyconnector.ingress.rules.rules import MAX_ASKED

HOST = "db.test"


def access(audience: str = "a", **more: Any) -> dict[str, Any]:
    return {"access": {"required": True, "teamName": "example", "audTag": [audience], **more}}


def rule(number: int, *identity: str, path: str = "", audience: str = "a", host: str = HOST) -> dict[str, Any]:
    found: dict[str, Any] = {"hostname": host, "service": f"http://localhost:{number}"}
    found["originRequest"] = access(audience)
    return found | ({"identity": list(identity)} if identity else {}) | ({"path": path} if path else {})


def open_rule(number: int, path: str = "") -> dict[str, Any]:
    return rule(number, path=path) | {"originRequest": {"access": {"required": False}}}


def read(*rules: dict[str, Any]) -> Ingress:
    return parse_ingress({"ingress": [*rules, {"service": "http_status:404"}]})


def service(**fields: Any) -> Identity:
    return Identity(kind="service", name="x.access", subject="", expires=0.0, **fields)


USER = Identity(kind="user", name="dev@acme.example", subject="1", expires=0.0)


def met(ingress: Ingress, who: Identity | None, path: str = "/", host: str = HOST) -> Match:
    found = ingress.match(host, path, lambda rule: who is not None and who.is_any_of(rule.identity))
    assert found.asks == ()
    return found


def test_one_name_leads_writers_and_readers_to_different_services() -> None:
    ingress = read(rule(1, "role:writer"), rule(2, "role:reader", "label:team=data"), open_rule(3))
    assert met(ingress, service(role="writer")).index == 0
    assert met(ingress, service(role="reader")).index == 1
    assert met(ingress, service(labels=frozenset({"team=data"}))).index == 1
    assert met(ingress, service(role="owner")).index == met(ingress, None).index == 2
    assert ingress.warnings == ()


@pytest.mark.parametrize(
    ("entry", "who"),
    [
        ("token:x.access", service()),
        ("name:agent-01", service(token_name="agent-01")),
        ("email:Dev@acme.example", USER),
        ("role:a", service(role="a")),
        ("label:b", service(labels=frozenset("b"))),
    ],
)
def test_a_rule_is_for_whom_its_identity_names(entry: str, who: Identity) -> None:
    ingress = read(rule(1, entry))
    assert met(ingress, who).index == 0
    posing = Identity(kind="service", name="y", subject="", expires=0.0, token_name="x.access", role="dev@acme.example")
    for other in {USER, posing, None} - {who}:
        assert met(ingress, other).index == 1


def test_who_asks_is_asked_for_only_where_it_matters() -> None:
    ingress = read(rule(1, path="^/health$"), rule(2, "role:writer"), rule(3, "role:x", audience="b"), rule(4))
    assert ingress.match(HOST, "/health").asks == ()
    assert ingress.match("other.test", "/").asks == ()
    assert ingress.match(HOST, "/").asks == (1, 2)
    assert ingress.match(f"{HOST.upper()}:80", "/").asks == (1, 2)


def test_wildcards_and_paths_hold_beside_an_identity() -> None:
    ingress = read(rule(1, "role:w", path="^/api/", host="*.test"), rule(2, host="*.test"))
    assert met(ingress, service(role="w"), "/api/x").index == 0
    assert met(ingress, service(role="w"), "/x").index == met(ingress, None, "/api/x").index == 1


def test_other_spellings_of_a_path_need_the_access_of_whom_they_are_for() -> None:
    ingress = read(
        rule(1, "role:admin", path="^/admin"), rule(2, path="^/admin", audience="b"), open_rule(3), open_rule(4, "^/x")
    )
    admin, reader = service(role="admin"), service(role="reader")
    assert met(ingress, admin, "/admin").guards == ()
    assert (met(ingress, admin, "//admin").index, met(ingress, admin, "//admin").guards) == (2, (0,))
    assert (met(ingress, reader, "//admin").index, met(ingress, reader, "//admin").guards) == (2, (1,))
    assert met(ingress, None, "//admin").guards == (1,)
    assert met(ingress, reader, "/%2561dmin" * 400).guards == (1,)  # too odd to judge: every demand that is for all
    assert ingress.match(HOST, "/other").asks == (0,)  # another spelling of it may hang on who asks


def test_a_rule_for_somebody_guards_nothing_from_others() -> None:
    ingress = read(rule(1, "role:admin", path="^/admin"), open_rule(2))
    assert met(ingress, None, "//admin") == met(ingress, None, "/admin") == Match(1, ingress.rules[1])
    assert ingress.warnings == ()


def test_rules_that_nobody_gets_to_are_told() -> None:
    def warnings(*rules: dict[str, Any]) -> list[str]:
        return [str(warning) for warning in read(*rules).warnings]

    assert warnings(rule(1, "role:a"), rule(2, "role:a", "role:b"), rule(3)) == []
    assert warnings(rule(1, "role:a", "role:b"), rule(2, "role:a")) == [
        "ingress[1]: rule #2 is never reached: the rules up to #1 take all its requests"
    ]
    assert warnings(rule(1, "role:a"), rule(2, "role:b"), rule(3, "role:b", "role:a")) == [
        "ingress[2]: rule #3 is never reached: the rules up to #2 take all its requests"
    ]
    assert warnings(rule(1), rule(2, "role:a")) == [
        "ingress[1]: rule #2 is never reached: rule #1 takes all its requests"
    ]
    assert warnings(rule(1, "role:a"), rule(2, "role:a", audience="b")) == []  # tokens of another application


def test_ways_of_verifying_who_asks_are_few() -> None:
    rules = [rule(number + 1, "role:a", audience=f"a{number}") for number in range(MAX_ASKED + 1)]
    read(*rules[:-1])
    with pytest.raises(IngressError, match=r"ingress\[16\]\.identity: .* in more than 16 ways"):
        read(*rules)


@pytest.mark.parametrize("change", [{"originRequest": {}}, {"identity": []}, {"originRequest": access(teamName="")}])
def test_a_pushed_rule_for_somebody_unverifiable_is_refused(change: dict[str, Any]) -> None:
    good = rule(1, "role:writer")
    ending = {"service": "http_status:404"}
    parsed = parse_remote_configuration(json.dumps({"ingress": [good, ending]}).encode())
    assert parsed.ingress.rules[0].identity == ("role:writer",)
    with pytest.raises(IngressError, match=r"ingress\[0\]"):
        parse_remote_configuration(json.dumps({"ingress": [good | change, ending]}).encode())


def test_reasons_and_changes_name_who_a_rule_is_for() -> None:
    ingress = read(rule(1, "role:writer", "name:a"), rule(2))
    nobody = explain(ingress, HOST, "/")
    assert [verdict.reason for verdict in nobody.verdicts] == ["it is for role:writer or name:a, and others ask", ""]
    assert explain(ingress, HOST, "/", service(role="writer")).match.index == 0
    assert explain(ingress, "x.test", "/", service(role="writer")).verdicts[0].reason == (
        'the host "x.test" is not "db.test"'
    )
    after = read(rule(1, "role:owner"), rule(2))
    assert difference(ingress, after, WarpRouting(), WarpRouting()) == [
        'added rule #0: db.test for "role:owner" -> http://localhost:1',
        'removed rule #0: db.test for "role:writer, name:a" -> http://localhost:1',
    ]
    assert local_configuration(ingress, WarpRouting())["ingress"][0]["identity"] == ["role:writer", "name:a"]
