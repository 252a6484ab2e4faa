"""What a reload changed, in words."""

from __future__ import annotations

from typing import Any

import pytest

from pyconnector.ingress import WarpRouting, parse_ingress
from pyconnector.ingress.rules.difference import MAX_TOLD, difference

LAST = {"service": "http_status:404"}


def told(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[str]:
    old, new = ({"ingress": [*rules, LAST]} for rules in (before, after))
    return difference(parse_ingress(old), parse_ingress(new), WarpRouting(), WarpRouting())


def rule(host: str, service: str = "http://localhost:1", **more: Any) -> dict[str, Any]:
    return {"hostname": host, "service": service, **more}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([rule("a.example")], [rule("a.example")], []),
        ([], [rule("a.example")], ["added rule #0: a.example -> http://localhost:1"]),
        ([rule("a.example", path="/x")], [], ["removed rule #0: a.example path /x -> http://localhost:1"]),
        ([rule("a.example")], [rule("A.example", "http://b:2")],
         ["changed rule #0 (A.example): service http://localhost:1 -> http://b:2"]),
        ([rule("a.example")], [rule("a.example", originRequest={"noTLSVerify": True, "connectTimeout": "1s"})],
         ["changed rule #0 (a.example): settings connectTimeout, noTLSVerify"]),
        ([rule("a.example"), rule("b.example")], [rule("b.example"), rule("a.example")],
         ["changed the order of the rules"]),
        ([rule("a.example"), rule("b.example")], [rule("b.example")],
         ["removed rule #0: a.example -> http://localhost:1"]),
    ],
)  # fmt: skip
def test_each_change_is_one_phrase(
    before: list[dict[str, Any]], after: list[dict[str, Any]], expected: list[str]
) -> None:
    assert told(before, after) == expected


def test_no_password_is_told() -> None:
    said = told([rule("a.example", "http://u:secret1@h:1")], [rule("a.example", "http://u:secret2@h:2")])
    assert len(said) == 1
    assert "secret" not in said[0]


def test_private_network_settings_count() -> None:
    rules = parse_ingress({"ingress": [LAST]})
    changed = difference(rules, rules, WarpRouting(), WarpRouting(max_active_flows=3))
    assert changed == ["changed warp-routing: maxActiveFlows"]


def test_of_many_changes_the_number_is_told() -> None:
    said = told([], [rule(f"h{index}.example") for index in range(100)])
    assert len(said) == MAX_TOLD
    assert said[-1] == "81 more changes"
