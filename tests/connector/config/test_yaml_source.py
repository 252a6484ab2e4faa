from __future__ import annotations

from pathlib import Path

import pytest

from pyconnector.connector.api.errors import ConfigError
from pyconnector.connector.config.yaml_source import MAX_DEPTH, MAX_FILE_BYTES, MAX_VALUES, parse_source, read_source


def problem(text: str | bytes) -> str:
    data = text.encode() if isinstance(text, str) else text
    with pytest.raises(ConfigError) as caught:
        parse_source(data, "c.yml")
    return str(caught.value)


def test_every_value_and_key_remembers_its_place() -> None:
    source = parse_source(b"tunnel: abc\ningress:\n  - hostname: a.example\n    service: http://x\n", "c.yml")
    assert source.values == {"tunnel": "abc", "ingress": [{"hostname": "a.example", "service": "http://x"}]}
    assert source.places[("ingress", 0, "service")] == (4, 14)
    assert source.keys[("ingress", 0, "service")] == (4, 5)
    assert str(source.problem(("ingress", 0, "service"), "bad")) == "c.yml:4:14: ingress[0].service: bad"


def test_a_problem_at_something_missing_points_at_what_is_around_it() -> None:
    source = parse_source(b"ingress:\n  - hostname: a\n", "c.yml")
    assert str(source.problem(("ingress", 0, "service"), "missing")).startswith("c.yml:2:5: ")


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("yes", "yes"), ("on", "on"), ("true", True), ("False", False), ("12", 12), ("-3", -3), ("010", 8),
        ("0o17", 15),        ("0x1F", 31), ("1_000", 1000), ("1.5", 1.5), ("1e3", 1000.0), ("12:30:45", "12:30:45"),
        ("2001-01-01", "2001-01-01"), ("127.0.0.1:8080", "127.0.0.1:8080"), ("~", None), ("null", None), ("", None),
        ("'12'", "12"), ("30s", "30s"), ("http_status:404", "http_status:404"), ("*.x", None), ("=", "="),
    ],
)  # fmt: skip
def test_scalars_are_read_as_the_reference_reads_them(scalar: str, value: object) -> None:
    if scalar == "*.x":
        assert "not valid YAML" in problem("a: *.x")
        return
    found = parse_source(f"a: {scalar}\n".encode(), "c.yml").values["a"]
    assert found == value
    assert type(found) is type(value)


def test_a_key_given_twice_is_a_problem_that_names_both_lines() -> None:
    assert problem("a: 1\nb: 2\na: 3\n") == "c.yml:3:1: a: the key is given twice, first in line 1"


def test_a_merge_key_fills_in_what_a_mapping_lacks() -> None:
    source = parse_source(b"base: &b\n  x: 1\n  y: 2\nuse:\n  <<: *b\n  y: 3\n", "c.yml")
    assert source.values["use"] == {"x": 1, "y": 3}


def test_an_alias_bomb_stops_at_the_bound() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    assert f"more than {MAX_VALUES} values" in problem("\n".join(lines))


def test_an_alias_bomb_of_merges_stops_at_the_bound() -> None:
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 12)]
    assert f"more than {MAX_VALUES} values" in problem("\n".join(lines))


def test_an_alias_of_itself_is_a_problem() -> None:
    assert "part of" in problem("a: &a\n  b: *a\n")


@pytest.mark.parametrize("depth", [MAX_DEPTH + 2, 1000])
def test_deep_nesting_is_a_problem(depth: int) -> None:
    assert "nested" in problem("a: " + "[" * depth + "]" * depth)


def test_a_tab_is_named_with_its_place() -> None:
    text = problem("a:\n\tb: 1\n")
    assert text.startswith("c.yml:2:1: not valid YAML: a tab cannot be used here")


@pytest.mark.parametrize(
    "text",
    [
        "a:\t\n  b: 1\n",
        "a:\n  b:\t1\n",
        "a:\n  b: 1\t\n",
        "a:\n  b: 1\t# c\n",
        'a:\n  b: "1"\t# c\n',
        "a\t:\n  b\t: 1\n",
        "a: {\tb:\t1\t}\n",
        "a: {\n\tb: 1\n\t}\n",
        "---\t\na: {b: 1}\n",
        "a: &x\t{b: 1}\n",
        "a:\n\t\n  b: 1\n \t \n",
        "a:\n\t# c\n  b: 1\n",
        "a: {b: 1}\n\t",
    ],
)
def test_tabs_that_separate_are_white_space(text: str) -> None:
    values = parse_source(text.encode(), "c.yml").values
    assert values["a"] == {"b": values["a"]["b"]}
    assert str(values["a"]["b"]) == "1"


def test_tabs_within_a_text_belong_to_it() -> None:
    values = parse_source(b"a: x\ty\nb: x\n  \ty\nc: |\t\n  x\ty\nd: 'x\ty'\n", "c.yml").values
    assert values == {"a": "x\ty", "b": "x y", "c": "x\ty\n", "d": "x\ty"}


@pytest.mark.parametrize(
    ("indicators", "value"),
    [("|", "x\n"), ("|-", "x"), (">+", "x\n\n"), ("|1", " x\n"), ("|-1", " x"), ("|1+", " x\n\n"), ("| ", "x\n")],
)
@pytest.mark.parametrize("behind", ["\t", "\t # c", " \t"])
def test_tabs_may_follow_the_indicators_of_a_text(indicators: str, value: str, behind: str) -> None:
    assert parse_source(f"a: {indicators}{behind}\n  x\n\nb: 1\n".encode(), "c.yml").values == {"a": value, "b": 1}


def test_nothing_but_a_comment_follows_the_indicators_of_a_text() -> None:
    for text in ("a: |\t-\n  x\n", "a: |-\t+\n  x\n", "a: |\tb\n  x\n"):
        assert "not valid YAML" in problem(text)


@pytest.mark.parametrize(
    "text", ["a:\n\tb: 1\n", "a:\n  - \tb: 1\n", "a:\n  b: 1\n\tc: 2\n", "a:\n  \tb: 1\n", "\ta: 1\n"]
)
def test_tabs_that_indent_are_problems(text: str) -> None:
    assert "a tab cannot be used here, YAML is indented with spaces" in problem(text)


@pytest.mark.parametrize(
    ("text", "place", "hint"),
    [
        ("a: *.example.com\n", "1:5", 'begins with * must be in quotes, as in "*.example.com"'),
        ("a: *example\n", "1:4", "begins with * must be in quotes"),
        ("a: &.b\n", "1:5", "begins with & must be in quotes"),
        ('a: "C:\\Users\\x.json"\n', "1:9", "use single quotes"),
        ('a: "C:\\data"\n', "1:8", "use single quotes"),
        ("a: b: c\n", "1:5", 'a text with ": " in it must be in quotes'),
        ("a: 1\nb\nc: 2\n", "2:1", "a key must be followed by a colon and a space"),
        ("a: @b\n", "1:4", "begins with @, ` or % must be in quotes"),
        ("a: `b`\n", "1:4", "begins with @, ` or % must be in quotes"),
        ("a: %b\n", "1:4", "begins with @, ` or % must be in quotes"),
        ("a: [1, 2\nb: 3\n", "2:2", "a { or [ is not closed"),
        ("a: {{ host }}.com\n", "1:14", "a { or [ is not closed|indented"),
        ('a: "b\nc: d\n', "1:4", "the quotes that begin here are never closed"),
        ("a: 'b\n", "1:4", "the quotes that begin here are never closed"),
        ('a: "b" c\n', "1:8", "something follows a text in quotes"),
        ("a:\n  b: 1\n c: 2\n", "3:2", "indented unlike"),
        ("a:\n- b\n  c: d\n", "3:4", "the keys of a mapping begin in one column"),
        ("a: >x\n", "1:5", "begins with | or > must be in quotes"),
        ("a: !<x\n", "1:7", "begins with ! or % must be in quotes"),
    ],
)
def test_the_slips_of_every_day_have_a_hint(text: str, place: str, hint: str) -> None:
    found = problem(text)
    assert found.startswith(f"c.yml:{place}: not valid YAML: ")
    assert any(part in found for part in hint.split("|")[: 2 if "|in" in hint else 1]), found


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a: 1\nb: \xff\n", "2:4: not valid YAML: it is not UTF-8 text"),
        (b"\xef\xbb\xbfa: 1\nb: \xc3\xbc\xff\n", "2:5: not valid YAML: it is not UTF-8 text"),
        (b"a: 1\nb: \x01\n", "2:4: not valid YAML: it holds the character U+0001, which YAML forbids"),
        ("a: ü\x7f\n".encode(), "1:5: not valid YAML: it holds the character U+007F, which YAML forbids"),
        ("a: 1\nb: \x00\n".encode("utf-16"), "2:4: not valid YAML: it holds the character U+0000, which YAML forbids"),
    ],
)
def test_bytes_that_are_no_text_have_a_line_and_a_column(data: bytes, expected: str) -> None:
    assert problem(data) == f"c.yml:{expected}"


@pytest.mark.parametrize("text", ["a: [1, 2", "a: 'x", "a: b: c", "- x\nb: 1", "a: !!python/object:os.x {}", "%a"])
def test_broken_yaml_is_one_sentence_with_a_place(text: str) -> None:
    found = problem(text)
    assert found.startswith("c.yml:")
    assert "\n" not in found


def test_bytes_that_are_no_text_are_a_problem() -> None:
    assert "not UTF-8" in problem(b"a: \xff\xfe\xfa\n")
    assert "forbids" in problem(b"a: \x01\n")


@pytest.mark.parametrize(
    ("text", "kind"), [("- a\n", "a list"), ("abc\n", 'the text "abc"'), ("12\n", "the number 12")]
)
def test_a_file_that_is_no_mapping_says_what_it_is(text: str, kind: str) -> None:
    assert kind in problem(text)


def test_an_empty_file_is_a_warning() -> None:
    assert str(parse_source(b"# nothing\n", "c.yml").warnings[0]) == "c.yml: the config file is empty"


def test_only_the_first_document_counts_and_it_is_said() -> None:
    source = parse_source(b"a: 1\n---\na: 2\n", "c.yml")
    assert source.values == {"a": 1}
    assert "first YAML document" in source.warnings[0].message


def test_files_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such config file"):
        read_source(str(tmp_path / "none.yml"))
    with pytest.raises(ConfigError, match="this is a directory"):
        read_source(str(tmp_path))
    large = tmp_path / "large.yml"
    large.write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    with pytest.raises(ConfigError, match="larger than"):
        read_source(str(large))
