import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyconnector.ingress.config.durations import MAX_DURATION_CHARACTERS, format_duration, json_seconds, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("300ms", 0.3),
        ("1.5s", 1.5),
        ("2m30s", 150.0),
        ("1h", 3600.0),
        ("0", 0.0),
        ("+5s", 5.0),
        ("-0", 0.0),
        ("-1m", -60.0),
        (".5s", 0.5),
        ("5.s", 5.0),
        ("1us", 1e-6),
        ("1µs", 1e-6),
        ("1μs", 1e-6),
        ("7ns", 7e-9),
        ("1h1h", 7200.0),
        ("2562047h47m16.854775807s", 9223372036.854775807),
    ],
)
def test_reads_what_the_reference_reads(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds, rel=1e-15, abs=0)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the text is empty"),
        ("-", "nothing after the sign"),
        ("5", "a unit is missing"),
        ("5 s", "the unit ' s' is not known"),
        ("5d", "the unit 'd' is not known"),
        ("s", "a number was expected"),
        (".s", "a number was expected"),
        ("--5s", "a number was expected"),
        ("1e3s", "the unit 'e' is not known"),
        ("٥s", "a number was expected"),
        ("2562047h47m16.854775808s", "longer than 292 years"),
        ("9" * MAX_DURATION_CHARACTERS + "s", "too long"),
    ],
)
def test_says_why_a_text_is_no_duration(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_duration(text)


@given(st.integers(-(1 << 62), 1 << 62))
def test_what_is_written_reads_back(nanoseconds: int) -> None:
    seconds = nanoseconds / 1_000_000_000
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (90, "1m30s"),
        (0.5, "500ms"),
        (3600, "1h"),
        (1.25, "1.25s"),
        (-5, "-5s"),
        (5e-7, "500ns"),
        (1.5e-6, "1.5us"),
    ],
)
def test_writes_like_a_config(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_json_numbers_are_whole_where_they_can_be() -> None:
    assert [json_seconds(90.0), json_seconds(0.5)] == [90, 0.5]
    assert isinstance(json_seconds(90.0), int)
