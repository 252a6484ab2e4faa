import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyconnector.ingress import Ingress, OriginSettings, Rule, default_ingress
from pyconnector.ingress.config.services import StatusService
from pyconnector.ingress.rules.rules import unreachable_rules

SERVICE = StatusService(200)
NAMES = [
    "",
    "*",
    "a.com",
    "b.a.com",
    "*.a.com",
    "*.b.a.com",
    "*.com",
    "A.com",
    "bü.com",
    "xn--b-xga.com",
    "*com",
    "*.",
    ".a.com",
    "c",
]
HOSTS = [
    *NAMES,
    "x.a.com",
    "x.b.a.com",
    "a.com:80",
    "[a.com]:80",
    "a.com.",
    "..a.com",
    "x.",
    "[::1]:80",
    "::1",
    "a.COM",
]
PATHS = ["", "/", "^/a", "x$", "(?i)B"]


def rule(hostname: str = "", path: str = "") -> Rule:
    return Rule(hostname, path, SERVICE)


def scan(rules: list[Rule], host: str, path: str) -> int:
    """Ask every rule in turn, as the reference does."""
    for index, entry in enumerate(rules):
        if entry.matches(host, path):
            return index
    return len(rules) - 1


@given(
    st.lists(st.builds(rule, st.sampled_from(NAMES), st.sampled_from(PATHS)), min_size=1, max_size=8),
    st.sampled_from([host for host in HOSTS if ":" not in host]) | st.text(alphabet="abx.com*", max_size=9),
    st.sampled_from(["/", "/a", "/x", "/b", ""]) | st.text(max_size=5),
)
def test_looking_up_finds_what_asking_in_turn_finds(rules: list[Rule], host: str, path: str) -> None:
    match = Ingress(tuple(rules)).match(host, path)
    assert match.index == scan(rules, host, path)
    assert match.rule is rules[match.index]


@given(st.text(max_size=20) | st.sampled_from(HOSTS), st.text(st.characters(), max_size=20))
def test_every_request_meets_a_rule(host: str, path: str) -> None:
    ingress = Ingress((rule("*.a.com", r"^/.$"), rule("a.com"), rule()))
    assert 0 <= ingress.match(host, path).index <= 2


def test_port_is_ignored() -> None:
    ingress = Ingress((rule("a.com"), rule("::1"), rule()))
    assert [ingress.match(host, "/").index for host in ("a.com:8443", "[::1]:80", "::1", "[::1]")] == [0, 1, 1, 2]


def test_an_earlier_wildcard_wins_over_a_later_name() -> None:
    ingress = Ingress((rule("*.a.com", "^/w"), rule("b.a.com"), rule("*.a.com"), rule()))
    assert [ingress.match("b.a.com", path).index for path in ("/w", "/x")] == [0, 1]
    assert ingress.match("c.a.com", "/x").index == 2


@pytest.mark.parametrize(
    "host",
    [
        "ADMIN.app.test",
        "admin.app.test.",
        "Admin.App.Test.",
        "admin.APP.test:443",
        "admin.app.test.:80",
        "ａdmin.app.test",
    ],
)
def test_no_spelling_of_a_host_gets_past_its_rule(host: str) -> None:
    for name in ("admin.app.test", "*.app.test", "Admin.app.test", "*.APP.test."):
        ingress = Ingress((rule(name), rule("*.test"), rule()))
        assert ingress.match(host, "/").index == 0


def test_no_spelling_of_an_encoded_host_gets_past_its_rule() -> None:
    for name in ("xn--bcher-kva.test", "bücher.test", "*.xn--bcher-kva.test", "*.BÜCHER.test"):
        ingress = Ingress((rule(name), rule()))
        asked = "a." if name.startswith("*.") else ""
        for host in ("XN--bcher-KVA.test", "bücher.test", "BÜCHER.test.", "xn--bcher-kva.TEST.:80"):
            assert ingress.match(asked + host, "/").index == 0


def test_path_is_searched_anywhere_and_bytes_that_are_no_text_count_as_one_character() -> None:
    ingress = Ingress((rule("", "/b"), rule("", "^/.$"), rule("", "é"), rule()))
    assert ingress.match("", "/a/b").index == 0
    assert ingress.match("", b"/\xff".decode("utf-8", "surrogateescape")).index == 1
    assert ingress.match("", b"/\xc3\x28".decode("utf-8", "surrogateescape")).index == 3
    assert ingress.match("", "/é").index == 1
    assert ingress.match("", "/a/é").index == 2


def test_a_hostile_path_costs_linear_time() -> None:
    ingress = Ingress((rule("", "(a*)*b$"), rule("", "(x+x+)+y"), rule()))
    begin = time.perf_counter()
    assert ingress.match("", "/" + "a" * 100_000).index == 2
    assert ingress.match("", "/" + "x" * 100_000).index == 2
    assert time.perf_counter() - begin < 2


def test_a_hostile_host_costs_no_more_than_its_length() -> None:
    ingress = Ingress((rule("*.example.com"), rule()))
    begin = time.perf_counter()
    assert ingress.match("." * 200_000, "/").index == 1
    assert ingress.match("a." * 100_000 + "example.com", "/").index == 0
    assert time.perf_counter() - begin < 1


def test_many_rules_are_indexed_and_found_quickly() -> None:
    rules = [rule(f"h{number}.example.com") for number in range(4000)] + [rule("*.example.com"), rule()]
    begin = time.perf_counter()
    ingress = Ingress(tuple(rules))
    assert unreachable_rules(rules) == []
    built = time.perf_counter()
    for _ in range(1000):
        assert ingress.match("h3999.example.com", "/").index == 3999
        assert ingress.match("nobody.example.com", "/").index == 4000
    assert built - begin < 5
    assert time.perf_counter() - built < 0.5


def test_rules_compare_by_what_the_config_says() -> None:
    assert rule("a.com", "^/x") == rule("a.com", "^/x")
    assert Ingress((rule(),)) == Ingress((rule(),))
    assert rule("a.com") != Rule("a.com", "", SERVICE, OriginSettings(no_tls_verify=True))
    assert hash(rule("a.com", "^/x")) == hash(rule("a.com", "^/x"))


def test_a_rule_with_a_bad_expression_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="missing"):
        rule("", "(")


def test_rules_are_needed() -> None:
    with pytest.raises(ValueError, match="at least one rule"):
        Ingress(())


def test_without_rules_everything_is_503() -> None:
    ingress = default_ingress()
    assert ingress.is_default
    assert str(ingress.match("a.com", "/").rule.service) == "http_status:503"


@pytest.mark.parametrize(
    ("rules", "pairs"),
    [
        ([rule("a.com"), rule("a.com", "/x"), rule()], [(1, 0)]),
        ([rule("a.com", "/x"), rule("a.com"), rule()], []),
        ([rule("a.com", "/x"), rule("a.com", "/x"), rule()], [(1, 0)]),
        ([rule("*.a.com"), rule("b.a.com"), rule("*.b.a.com"), rule("a.com"), rule()], [(1, 0), (2, 0)]),
        ([rule("", "/x"), rule("a.com", "/x"), rule("a.com", "/y"), rule()], [(1, 0)]),
        ([rule("a.com"), rule("A.com"), rule()], [(1, 0)]),
        ([rule("*.a.com"), rule("B.A.com."), rule()], [(1, 0)]),
        ([rule("A.com"), rule("a.com"), rule()], [(1, 0)]),
        ([rule("*.a.com"), rule("*.a.com", "/x"), rule()], [(1, 0)]),
        ([rule("*", "/x"), rule("", "/x"), rule()], [(1, 0)]),
    ],
)
def test_rules_that_are_never_reached(rules: list[Rule], pairs: list[tuple[int, int]]) -> None:
    assert unreachable_rules(rules) == pairs


@given(
    st.lists(st.builds(rule, st.sampled_from(NAMES), st.sampled_from(PATHS)), min_size=1, max_size=6),
    st.sampled_from(HOSTS),
    st.sampled_from(["/", "/a", "/x", ""]),
)
def test_a_rule_said_to_be_unreachable_is(rules: list[Rule], host: str, path: str) -> None:
    rules = [*rules, rule()]
    dead = {index for index, _ in unreachable_rules(rules[:-1])}
    assert Ingress(tuple(rules)).match(host, path).index not in dead
