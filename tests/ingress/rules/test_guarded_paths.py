"""No spelling of a path gets past the access of the rule that guards it, and nothing else changes its rule."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyconnector.ingress import Ingress, decode_path, parse_ingress
from pyconnector.ingress.rules.guarded_paths import MAX_JUDGING
from tests.identity.test_path_spellings import SPELLINGS_OF_ADMIN

LOCKED = {"access": {"required": True, "teamName": "example", "audTag": ["a"]}}
OTHER = {"access": {"required": True, "teamName": "example", "audTag": ["b"]}}
OPEN = {"access": {"required": False}}
APP = "http://localhost:1"


def rule(
    path: str = "", request: dict[str, Any] | None = None, *, host: str = "app.test", service: str = APP
) -> dict[str, Any]:
    filters = ({"hostname": host} if host else {}) | ({"path": path} if path else {})
    return filters | {"service": service} | ({"originRequest": request} if request else {})


def read(*rules: dict[str, Any]) -> Ingress:
    return parse_ingress({"ingress": [*rules, {"service": "http_status:404"}]})


def judged(ingress: Ingress, raw: str, host: str = "app.test") -> tuple[int, tuple[int, ...]]:
    match = ingress.match(host, decode_path(raw))
    return match.index, match.guards


@pytest.mark.parametrize("raw", [*SPELLINGS_OF_ADMIN, "/Admin", "/ADMIN/x", "//aDMIN"])
def test_no_spelling_of_a_path_gets_past_the_access_of_its_rule(raw: str) -> None:
    first, second = judged(read(rule("^/admin", LOCKED), rule()), raw)
    assert (first, second) in ((1, (0,)), (0, ()))
    wild = read(rule("^/admin", LOCKED, host="*.test"), rule(host="app.test"))
    assert judged(wild, raw) in ((1, (0,)), (0, ()))
    everywhere = read(rule("^/admin", LOCKED, host=""), rule())
    assert judged(everywhere, raw) in ((1, (0,)), (0, ()))


@pytest.mark.parametrize(
    "raw", ["/public/../admin", "/public/..;/x", "/public//../x", "/public/%2e%2e/x", "/public/..\\x"]
)
def test_what_leads_out_of_an_open_path_needs_what_the_rest_needs(raw: str) -> None:
    assert judged(read(rule("^/public/"), rule("", LOCKED)), raw) == (0, (1,))


@pytest.mark.parametrize("raw", ["/public/", "/public/a", "/public/a/../b", "/public//a", "/public/a;b", "/public/%41"])
def test_what_stays_in_an_open_path_is_open(raw: str) -> None:
    assert judged(read(rule("^/public/"), rule("", LOCKED)), raw) == (0, ())


@pytest.mark.parametrize("raw", ["/", "/x", "/x/", "/administration"[:6] + "x", "/x//y", "/a/../b"])
def test_other_paths_are_as_open_as_before(raw: str) -> None:
    assert judged(read(rule("^/admin(/|$)", LOCKED), rule()), raw) == (1, ())


def test_a_slash_at_the_end_does_not_get_past_an_earlier_rule() -> None:
    ingress = read(rule("^/admin$", LOCKED), rule("^/private/", LOCKED), rule())
    assert judged(ingress, "/admin/") == (2, (0,))
    assert judged(ingress, "/private") == (2, (1,))
    exact = read(rule("^/health$"), rule("", LOCKED))
    assert judged(exact, "/health") == (0, ())
    assert judged(exact, "/health/") == (1, ())


def test_the_case_that_a_rule_is_written_in_does_not_matter() -> None:
    ingress = read(rule("^/Admin", LOCKED), rule())
    assert judged(ingress, "/admin") == (1, (0,))
    assert judged(ingress, "/Admin") == (0, ())


def test_two_demands_hold_both() -> None:
    ingress = read(rule("^/a/", LOCKED), rule("^/b/", OTHER), rule())
    assert judged(ingress, "/a/../b/x") == (0, (1,))
    assert judged(ingress, "/b/../a/x") == (1, (0,))
    assert judged(ingress, "/%2561/%252e./b/x") == (2, (0, 1))
    assert judged(ingress, "/a//x") == (0, ())


def test_a_path_with_too_many_spellings_needs_all_that_its_hostname_demands() -> None:
    ingress = read(rule("^/a/", LOCKED), rule("^/b/", OTHER), rule())
    assert judged(ingress, "/%25" + "25" * 40) == (2, (0, 1))
    assert judged(ingress, "/" + "x" * 10_000) == (2, (0, 1))


def test_other_hostnames_and_rules_that_reach_no_service_are_left_alone() -> None:
    ingress = read(rule("^/admin", LOCKED), rule("", host="open.test"), {"hostname": "*.app.test", "service": APP})
    assert judged(ingress, "//admin", "open.test") == (1, ())
    assert judged(ingress, "//admin") == (3, ())
    assert not ingress.warnings


def test_rules_of_one_hostname_that_differ_by_path_are_warned_of() -> None:
    def warnings(*rules: dict[str, Any]) -> list[str]:
        return [str(problem) for problem in read(*rules).warnings]

    (found,) = warnings(rule("^/admin", LOCKED), rule())
    assert found.startswith("ingress[0]: rules #1 and #2 differ in access by path under one hostname")
    assert "a hostname of its own" in found
    assert "^/health$" in found
    assert len(warnings(rule("^/a", LOCKED), rule("^/b", OTHER), rule("", LOCKED))) == 1
    assert len(warnings(rule("^/a", LOCKED), rule("^/b"))) == 1
    assert len(warnings(rule("^/health", OPEN), rule("", LOCKED))) == 1
    assert len(warnings(rule("^/a", LOCKED, host=""), rule(host="one.test"), rule(host="two.test"))) == 2
    # The two safe ways, and what does not differ.
    assert warnings(rule("^/health$", OPEN), rule(r"^/robots\.txt$"), rule("", LOCKED)) == []
    assert warnings(rule("", LOCKED, host="admin.test"), rule()) == []
    assert warnings(rule("^/a", LOCKED), rule("", LOCKED)) == []
    assert warnings(rule("^/a", OPEN), rule()) == []


def test_many_rules_of_one_hostname_cost_a_bounded_time() -> None:
    ingress = read(*(rule(f"^/a{number}/", LOCKED if number % 2 else OPEN) for number in range(2000)), rule())
    begin = time.perf_counter()
    assert judged(ingress, "/x//y/../z;a") == (2000, (1,))
    assert judged(ingress, "/x") == (2000, ())
    assert time.perf_counter() - begin < 1
    assert MAX_JUDGING == 500_000


@given(st.text(alphabet="/.;\\%2fFae", max_size=24).map(lambda text: "/" + text))
def test_every_path_is_served_by_the_rule_that_it_meets(raw: str) -> None:
    ingress = read(rule("^/a", LOCKED), rule("^/e", OTHER), rule())
    match = ingress.match("app.test", decode_path(raw))
    assert match.index == next(i for i, each in enumerate(ingress.rules) if each.matches("app.test", decode_path(raw)))
    assert match.index not in match.guards
