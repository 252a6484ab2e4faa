"""Many path rules of one hostname are asked together, and answer as they would one by one."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyconnector.ingress import Ingress, Rule
from pyconnector.ingress.config.services import StatusService
from pyconnector.ingress.rules import path_set
from pyconnector.ingress.rules.path_patterns import PathPattern, compile_path
from pyconnector.ingress.rules.path_set import ASKED_TOGETHER, PathSet

SERVICE = StatusService(200)
EXPRESSIONS = [
    "^/a",
    "b$",
    "^/a/[0-9]+$",
    "(?i)CASE",
    ".",
    "^$",
    r"\.css$",
    "é",
    "�",
    "x{3}",
    "(a|b)*c",
    "^/api/v[12]/",
]
PATHS = ["/", "/a", "/a/12", "/b", "/case", "/x.css", "/é", "/\udcff", "/xxx", "/v2/", "", "/abac", "/zz"]


def rules(paths: list[str], *, catch_all: bool = True) -> Ingress:
    last = [Rule("a.com", "", SERVICE)] if catch_all else []
    return Ingress((*(Rule("a.com", path, SERVICE) for path in paths), *last, Rule("", "", SERVICE)))


@given(
    st.lists(st.sampled_from(EXPRESSIONS), min_size=ASKED_TOGETHER, max_size=30), st.sampled_from(PATHS), st.booleans()
)
def test_many_paths_find_what_asking_in_turn_finds(paths: list[str], path: str, catch_all: bool) -> None:
    ingress = rules(paths, catch_all=catch_all)
    expected = next(index for index, rule in enumerate(ingress.rules) if rule.matches("a.com", path))

    assert ingress.match("a.com", path).index == expected


def test_many_paths_are_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ingress = rules([f"^/{index}/[a-z]+$" for index in range(1000)])
    monkeypatch.setattr(PathPattern, "search", lambda *_: pytest.fail("asked by itself"))

    for path, index in (("/0/x", 0), ("/999/x", 999), ("/none", 1000)):
        assert ingress.match("a.com", path).index == index


def test_a_set_beyond_its_memory_asks_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(path_set, "SET_MEMORY", 1000)
    patterns = [compile_path(f"^/{index}/[a-z]{{20}}$") for index in range(50)]

    assert PathSet(patterns).first("/49/") is None
    ingress = rules([pattern.text for pattern in patterns])
    assert ingress.match("a.com", "/49/" + "z" * 20).index == 49
    assert ingress.match("a.com", "/50/").index == 50


def test_a_search_that_runs_out_of_memory_asks_each() -> None:
    ingress = rules([f"^/{index}/" for index in range(50)])
    for paths in ingress.table._sets.values():
        paths._set = SimpleNamespace(Match=lambda _: [])  # what RE2 says then
        assert paths.first("/7/") is None

    assert ingress.match("a.com", "/7/").index == 7


def test_the_memory_of_a_set_is_bounded() -> None:
    few = [compile_path("a")] * ASKED_TOGETHER

    assert path_set.SET_MEMORY == 32 * 1024 * 1024
    assert PathSet(few).first("/") == ASKED_TOGETHER
