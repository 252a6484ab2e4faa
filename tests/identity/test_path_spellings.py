import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyconnector.identity.applications.path_spellings import MAX_SPELLINGS, MAX_SPELT_PATH, spellings, toggled_slash
from pyconnector.ingress import decode_path

#: Raw paths that some service in the field takes for /admin.
SPELLINGS_OF_ADMIN = [
    "//admin",
    "///admin",
    "/x/../admin",
    "/x//../admin",
    "/./admin",
    "/../admin",
    "/../../admin",
    "/.//admin",
    "/%2fadmin",
    "/%2Fadmin",
    "/%252fadmin",
    "/%25252Fadmin",
    "/%2e/admin",
    "/x/%2e%2e/admin",
    "/x/%252e%252e/admin",
    "/x%2f..%2fadmin",
    "/;x/admin",
    "/;/admin",
    "/x/..;/admin",
    "/x/..;a=b/admin",
    "/;x/..;y//admin",
    "/%5cadmin",
    "\\admin",
    "/x/..\\admin",
    "/x%5c..%5cadmin",
    "/%61dmin",
    "/%2561dmin",
    "//admin;x",
    "//admin%00.png",
    "//admin%3fx",
    "//admin.",
    "/%2fadmin%20",
]


@pytest.mark.parametrize("raw", SPELLINGS_OF_ADMIN)
def test_every_spelling_of_a_path_is_seen_through(raw: str) -> None:
    found = spellings(decode_path(raw))
    assert found is not None
    assert "/admin" in found


@pytest.mark.parametrize(
    "path", ["/", "/a", "/a/", "/a/b.c", "/a b", "/ü", "/a-b_c~d", "/.well-known/x", "/a..b", "/..a", ""]
)
def test_a_plain_path_has_one_spelling(path: str) -> None:
    assert spellings(path) == frozenset({path})


def test_one_habit_alone_is_followed_too() -> None:
    found = spellings("//admin/../x")
    assert found is not None
    assert {"//admin/../x", "/admin/../x", "/x"} <= found


def test_too_many_spellings_and_too_long_paths_are_given_up_on() -> None:
    assert spellings("/" + "%25" * (MAX_SPELLINGS + 8)) is not None
    assert spellings("/%" + "25" * (MAX_SPELLINGS + 8)) is None
    assert spellings("/" + "a" * MAX_SPELT_PATH) is None


@given(st.text(alphabet="/.;\\%25fFeEcCa\0 ?#", max_size=60))
def test_spellings_are_closed_and_bounded(path: str) -> None:
    found = spellings(path)
    if found is not None:
        assert path in found
        assert len(found) <= MAX_SPELLINGS
        for other in found:
            again = spellings(other)
            assert again is not None
            assert again <= found


def test_the_worst_path_costs_little() -> None:
    begin = time.perf_counter()
    for unit in ("/..", "/;", "//", "%25", "/.;/", "\\..", "/a../", ". "):
        spellings((unit * MAX_SPELT_PATH)[:MAX_SPELT_PATH])
    assert time.perf_counter() - begin < 2


def test_a_slash_at_the_end_is_put_there_or_taken_off() -> None:
    assert [toggled_slash(path) for path in ("/a", "/a/", "/")] == ["/a/", "/a", "//"]
