import pytest

from pyconnector.ingress.rules.path_patterns import MAX_PATTERN, PATTERN_MEMORY, compile_path, compile_re2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("(", "missing )"),
        ("[z-a]", "character class range"),
        ("a**", "bad repetition operator"),
        ("x{1001}", "repetition size"),
        ("(?=x)", "no look-around"),
        (r"(a)\1", "no back-references"),
        (r"\C", r"invalid escape sequence: \C"),
        ("*.css", "write .* for *"),
        ("\udcff", "half of a character"),
        ("a" * (MAX_PATTERN + 1), "longer than"),
    ],
)
def test_says_what_is_wrong_with_an_expression(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        compile_path(text)
    assert words in str(caught.value)


def test_a_quoted_c_is_no_byte_escape() -> None:
    assert compile_path(r"\Q\C\E").search(r"/\C")
    assert compile_path(r"\\C").search(r"/\C")


def test_memory_of_an_expression_is_bounded() -> None:
    assert compile_re2("a").options.max_mem == PATTERN_MEMORY
    with pytest.raises(ValueError, match="2 MiB"):
        compile_path(r"^/(\pL{1000}|\pN{1000})$")


def test_latin1_expressions_see_bytes() -> None:
    assert compile_re2("^/[^/]$", latin1=True).search(b"/\xff") is not None
