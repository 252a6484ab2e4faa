"""Applications: which host and path belong to which, whatever spelling a request uses."""

from __future__ import annotations

import time
from typing import Any

import pytest

from pyconnector.identity.applications.application import ApplicationError, parse_application, parse_pattern
from pyconnector.identity.applications.matching import MAX_HOSTS, MAX_PATHS, Applications
from tests.identity.test_path_spellings import SPELLINGS_OF_ADMIN

HOST = "app.example.com"


def applications(**places: str | list[str]) -> Applications:
    made = Applications()
    for number, (name, patterns) in enumerate(places.items()):
        texts = [patterns] if isinstance(patterns, str) else patterns
        made.put(parse_application(name, {"name": name, "aud": f"{number:064x}", "patterns": texts}))
    return made


def met(made: Applications, path: str, host: str = HOST) -> list[str]:
    return [application.id for application in made.met(host, path)]


@pytest.mark.parametrize(
    ("pattern", "taken", "not_taken"),
    [
        ("app.example.com", [HOST], ["example.com", "x.app.example.com", "app.example.com.evil"]),
        ("*.example.com", [HOST, "a.example.com"], ["example.com", "a.b.example.com"]),
        ("*test.example.com", ["mytest.example.com", "test.example.com"], ["testy.example.com"]),
        ("a*z.example.com", ["az.example.com", "abcz.example.com"], ["a.example.com", "z.example.com"]),
        ("APP.Example.com.", [HOST], []),
    ],
)
def test_hosts(pattern: str, taken: list[str], not_taken: list[str]) -> None:
    made = parse_pattern(pattern)
    assert [host for host in taken + not_taken if made.takes_host(host)] == taken


@pytest.mark.parametrize(
    ("pattern", "taken", "not_taken"),
    [
        ("", ["/", "/x"], []),
        ("alpha", ["/alpha", "/alpha/", "/alpha/x"], ["/alphabet", "/", "/x/alpha"]),
        ("alpha/", ["/alpha", "/alpha/x"], ["/alphabet"]),
        ("alpha/*", ["/alpha/", "/alpha/x/y"], ["/alpha", "/alphabet"]),
        ("a/*/c", ["/a/b/c", "/a/b/x/c", "/a/b/c/d", "/a/x/cc/c"], ["/a/b", "/a/c", "/a/b/cd"]),
        ("a*b*c", ["/abc", "/a/b/c", "/axbxc/d"], ["/acb"]),
        ("*.php", ["/x.php", "/a/b.php", "/b.php/c"], ["/x.phps"]),
    ],
)
def test_paths(pattern: str, taken: list[str], not_taken: list[str]) -> None:
    made = parse_pattern(f"h/{pattern}")
    assert [path for path in taken + not_taken if made.takes_path(path)] == taken


def test_the_most_particular_application_replaces_the_general_one() -> None:
    made = applications(
        all="*.example.com", host=HOST, deep=f"{HOST}/api/admin", api=f"{HOST}/api", stars=f"{HOST}/api/*/x",
        other="*.example.com/api/admin/very/long",
    )  # fmt: skip
    assert met(made, "/") == ["host"]
    assert met(made, "/api/things?next=/api/admin") == ["api"]
    assert met(made, "/api/admin/very/long") == ["deep"]
    assert met(made, "/", "b.example.com") == ["all"]
    assert met(made, "/", "b.c.example.com") == []


@pytest.mark.parametrize("raw", [*SPELLINGS_OF_ADMIN, "/ADMIN", "/Admin/x", "/x/..%2fadmin", "/%2561dmin"])
def test_no_spelling_slips_past_a_guarded_path(raw: str) -> None:
    assert "admin" in met(applications(admin=f"{HOST}/admin"), raw)
    assert "admin" in met(applications(open=HOST, admin=f"{HOST}/admin"), raw)


def test_plain_paths_meet_one_application_only() -> None:
    made = applications(open=HOST, admin=f"{HOST}/admin")
    for path in ("/", "/a/b.c", "/admins", "/x?y=/admin", "/x%20y", "/caf%C3%A9"):
        assert met(made, path) == ["open"]
    assert met(made, "/admin") == ["admin"]


def test_a_path_with_too_many_spellings_has_to_satisfy_all() -> None:
    made = applications(open=HOST, admin=f"{HOST}/admin", other="other.example.com/x")
    assert set(met(made, "/a" * 5000)) == {"open", "admin"}


def test_changes_are_in_force_at_once() -> None:
    made = applications(one=HOST)
    assert met(made, "/x") == ["one"]
    made.put(parse_application("one", {"name": "one", "aud": "a" * 64, "patterns": ["other.example.com"]}))
    assert met(made, "/x") == []
    assert met(made, "/x", "other.example.com") == ["one"]
    assert [application.id for application in made.of_host("other.example.com")] == ["one"]
    found = made.of_audience("a" * 64)
    assert found is not None
    assert made.get("one") is found
    assert list(made.all()) == [found]
    made.drop("one")
    made.drop("one")
    assert met(made, "/x", "other.example.com") == []
    assert made.of_audience("a" * 64) is None
    assert made.of_host(HOST) == ()


def test_what_is_remembered_of_visitors_is_bounded() -> None:
    made = applications(all="*.example.com/x")
    for number in range(MAX_HOSTS + 10):
        made.met(f"h{number}.example.com", "/x")
    for number in range(MAX_PATHS + 10):
        made.met(HOST, f"/{number}")
    assert f"hosts_remembered={MAX_HOSTS}" in repr(made)
    remembered = made._host(HOST)
    assert remembered is not None
    assert len(remembered.paths) == MAX_PATHS


def test_hostile_paths_cost_little_in_a_thousand_applications() -> None:
    made = applications(**{f"a{number}": f"{HOST}/{number}*a*a*a/b" for number in range(1000)})
    begun = time.process_time()
    for number in range(20):
        made.met(HOST, "/" + "a/" * 4000 + "%2e;" * (number + 1))
    assert time.process_time() - begun < 5


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("https://a.test", "begins with a scheme"),
        ("a.test/x?y", "query"),
        ("a.test:443", "without a port"),
        ("", "name of a host"),
        ("a..test", "name of a host"),
        ("**.test", "more than one"),
        ("a.test/x/../y", "one way only"),
        ("a.test//x", "one way only"),
        ("a.test/%61", "one way only"),
        ("a.test/" + "*a" * 5, "more than 4"),
    ],
)
def test_places_that_could_be_misread_are_refused(text: str, sentence: str) -> None:
    with pytest.raises(ApplicationError, match=sentence):
        parse_pattern(text)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": None}, "name"),
        ({"aud": "A" * 64}, "audience"),
        ({"patterns": []}, "places"),
        ({"patterns": ["a.test"] * 51}, "places"),
        ({"policies": [1]}, "policies"),
        ({"token_header": "Cookie"}, "read_service_tokens_from_header"),
        ({"session_seconds": True}, "numbers of seconds"),
        ({"session_seconds": float("nan")}, "numbers of seconds"),
    ],
)
def test_applications_that_make_no_sense_are_refused(changes: dict[str, Any], sentence: str) -> None:
    value = {"name": "n", "aud": "0" * 64, "patterns": ["a.test/x"], "token_header": "Authorization"}
    assert parse_application("i", value).token_header == "authorization"
    with pytest.raises(ApplicationError, match=sentence):
        parse_application("i", value | changes)
