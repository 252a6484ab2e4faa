import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyconnector.ingress.rules.rewrite import (
    MAX_REPLACEMENT,
    MAX_TARGET,
    PathRewrite,
    Redirect,
    TargetRewriter,
    TargetTooLong,
    check_prefix,
    strip_prefix,
)


@pytest.mark.parametrize(
    ("path", "result"),
    [
        ("/x", "/"),
        ("/x/", "/"),
        ("/x/y", "/y"),
        ("/xy", "/xy"),
        ("/y/x", "/y/x"),
        ("/%78/y", "/y"),
        ("/x%2Fy", "/x%2Fy"),
        ("%2Fx/y", "%2Fx/y"),
        ("/x//evil.example", "/evil.example"),
        ("/x/%2e%2e/y", "/%2e%2e/y"),
        ("/X/y", "/X/y"),
        ("/%7", "/%7"),
        ("/", "/"),
    ],
)
def test_prefix_is_stripped_by_whole_segments(path: str, result: str) -> None:
    assert strip_prefix(path, "/x") == result


def test_prefix_outside_ascii_is_found_in_both_spellings() -> None:
    prefix = check_prefix("/bücher/")
    assert prefix == "/b%C3%BCcher"
    assert strip_prefix("/b%c3%bccher/1", prefix) == "/1"
    assert strip_prefix("/bücher/1", prefix) == "/1"


@pytest.mark.parametrize("text", ["", "/", "x", "//x", "/a?b", "/a#b", "/a b", "///"])
def test_what_is_no_prefix(text: str) -> None:
    with pytest.raises(ValueError, match="begins with one slash"):
        check_prefix(text)


@pytest.mark.parametrize(
    ("rules", "target", "result"),
    [
        ([("^/old/(.*)$", "/new/$1")], "/old/a%20b?x=%2F", "/new/a%20b?x=%2F"),
        ([("^/old", "/new")], "/old/x", "/new/x"),
        ([("/b", "/c")], "/a/b/b", "/a/c/b"),
        ([("^/a", "/1"), ("^/1", "/2")], "/a", "/1"),
        ([("^/(?P<id>[0-9]+)$", "/item?id=${id}")], "/5?x=1", "/item?id=5&x=1"),
        ([("^/(.*)$", "/f?p=$1")], "/a&admin=1+2;b", "/f?p=a%26admin=1%2B2%3Bb"),
        ([("^/p", "/$$1")], "/p", "/$1"),
        ([("^/p", "/${1}")], "/p", None),
        ([("^/(a)?p", "/[$1]")], "/p", "/[]"),
        ([("^/.*$", "q")], "/p?", "/q?"),
        ([("^/x(.*)$", "$1")], "/x//evil.example/y", "/evil.example/y"),
        ([("^/nothing", "/x")], "//kept?a", "//kept?a"),
        ([("^/a$", "/b?")], "/a?c", "/b?c"),
    ],
)
def test_rewriting(rules: list[tuple[str, str]], target: str, result: str | None) -> None:
    if result is None:
        with pytest.raises(ValueError, match="group"):
            PathRewrite(*rules[0])
        return
    rewriter = TargetRewriter(rules=tuple(PathRewrite(*rule) for rule in rules))
    assert rewriter.rewrite(target) == result


def test_prefix_rules_and_new_prefix_come_in_this_order() -> None:
    rewriter = TargetRewriter(strip="/app", rules=(PathRewrite("^/v1", "/v2"),), prefix="/nas")
    assert rewriter.rewrite("/app/v1/x?q") == "/nas/v2/x?q"
    assert rewriter.rewrite("/app") == "/nas/"


@pytest.mark.parametrize("target", ["*", "example.com:443", "http://example.com/x", ""])
def test_targets_that_are_no_path_are_left_alone(target: str) -> None:
    assert TargetRewriter(strip="/x", prefix="/y").rewrite(target) == target


@pytest.mark.parametrize(
    ("rule", "target", "location"),
    [
        (("^/carddav$", "/remote.php/dav/", 301), "/carddav", "/remote.php/dav/"),
        (("^/a(.*)$", "$1", 302), "/a//evil.example", "/evil.example"),
        (("^/a(.*)$", "$1", 302), "/a/\\evil.example?x=1", "/evil.example?x=1"),
        (("^/a(.*)$", "$1", 302), "/a\\/evil.example", "/evil.example"),
        (("/x(.*)$", "https://other.example/y$1", 307), "/old/x/z", "https://other.example/y/z"),
        (("^/ü", "/u", 308), "/ü/é", "/u/%C3%A9"),
    ],
)
def test_redirects_stay_on_the_host_unless_the_config_says_otherwise(
    rule: tuple[str, str, int], target: str, location: str
) -> None:
    assert TargetRewriter(rules=(PathRewrite(*rule),)).rewrite(target) == Redirect(rule[2], location)


@pytest.mark.parametrize(
    ("match", "replace", "redirect", "words"),
    [
        ("(", "/", 0, "missing"),
        ("a", "/$1", 0, "group 1"),
        ("a", "/${x}", 0, "group x"),
        ("a", "/$x", 0, "followed by a group"),
        ("a", "/$", 0, "followed by a group"),
        ("a", "/a b", 0, "space"),
        ("a", "/a\r\nX: y", 0, "space"),
        ("a", "/a#b", 0, "#"),
        ("a", "/?a?b", 0, "question mark"),
        ("a", "http://b/", 0, "only a redirect"),
        ("a", "https://b$1", 302, "with a / after its host"),
        ("a", "ftp://b/", 302, "only a redirect"),
        ("a", "/" + "b" * MAX_REPLACEMENT, 0, "longer than"),
    ],
)
def test_problems_of_rewrites(match: str, replace: str, redirect: int, words: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        PathRewrite(match, replace, redirect)
    assert words in str(caught.value)


def test_a_target_cannot_grow_without_bound() -> None:
    rewriter = TargetRewriter(rules=(PathRewrite("^(.*)$", "$1" * 1000),))
    assert len(str(rewriter.rewrite("/" + "a" * 50))) <= MAX_TARGET
    with pytest.raises(TargetTooLong):
        rewriter.rewrite("/" + "a" * 10_000)
    with pytest.raises(TargetTooLong):
        TargetRewriter(prefix="/x").rewrite("/" + "a" * MAX_TARGET)


def test_nothing_configured_is_false() -> None:
    assert not TargetRewriter()
    assert TargetRewriter(prefix="/x")


TARGETS = st.builds(
    lambda path, query: "/" + path + query,
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x2FF, exclude_characters="?#\x7f"), max_size=20),
    st.sampled_from(["", "?", "?a=b", "?x?y"]),
)


@given(TARGETS)
def test_what_is_not_changed_goes_through_byte_for_byte(target: str) -> None:
    assert TargetRewriter(strip="/never-there", rules=(PathRewrite("^/never-there", "/x"),)).rewrite(target) == target


@given(TARGETS)
def test_the_result_is_a_path_again_and_keeps_the_query(target: str) -> None:
    rewriter = TargetRewriter(strip="/a", rules=(PathRewrite("^/(.)", "$1/$1"), PathRewrite(".*", "")))
    result = rewriter.rewrite(target)
    assert isinstance(result, str)
    assert result.startswith("/")
    assert not result.startswith("//") or target.startswith("//")
    assert result.partition("?")[1:] == target.partition("?")[1:]
