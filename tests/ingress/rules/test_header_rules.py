import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyconnector.ingress.rules.header_rules import MAX_VALUE, HeaderRules, check_name, check_value

HEADERS = [(b"Accept", b"*/*"), (b"X-A", b"1"), (b"Cookie", b"c"), (b"x-a", b"2")]


def test_set_replaces_all_of_a_name_in_the_place_of_the_first() -> None:
    rules = HeaderRules(set=((b"X-a", b"new"), (b"X-B", b"b")))
    assert rules.apply(HEADERS) == [(b"Accept", b"*/*"), (b"X-a", b"new"), (b"Cookie", b"c"), (b"X-B", b"b")]


def test_add_comes_beside_what_is_there() -> None:
    assert HeaderRules(add=((b"X-A", b"3"), (b"X-A", b"4"))).apply(HEADERS) == [
        *HEADERS,
        (b"X-A", b"3"),
        (b"X-A", b"4"),
    ]


def test_remove_takes_all_of_a_name() -> None:
    assert HeaderRules(remove=(b"x-a",)).apply(HEADERS) == [HEADERS[0], HEADERS[2]]


def test_remove_comes_before_set_and_add() -> None:
    rules = HeaderRules(remove=(b"cookie", b"x-c"), set=((b"Cookie", b"d"),), add=((b"X-C", b"e"),))
    assert rules.apply(HEADERS)[2:] == [(b"Cookie", b"d"), (b"x-a", b"2"), (b"X-C", b"e")]


@given(st.lists(st.tuples(st.sampled_from([b"A", b"a", b"B"]), st.binary(max_size=3))))
def test_nothing_to_do_changes_nothing(headers: list[tuple[bytes, bytes]]) -> None:
    assert HeaderRules().apply(headers) == headers


@pytest.mark.parametrize(
    "name",
    "Connection Keep-Alive TE Trailer Transfer-Encoding Upgrade Content-Length Host Proxy-Connection Expect "
    "Proxy-Authorization HTTP2-Settings Sec-WebSocket-Key Cf-Cloudflared-Response-Meta CF-Int-X Cf-Proxy-Y".split(),
)
def test_what_frames_a_message_or_belongs_to_a_hop_cannot_be_touched(name: str) -> None:
    for removing in (False, True):
        with pytest.raises(ValueError, match="cannot be changed"):
            check_name(name, removing=removing)


@pytest.mark.parametrize(
    "name", ["Cf-Access-Jwt-Assertion", "CF-Connecting-IP", "Cf-Warp-Tag-Id", "True-Client-IP", "cf-ray"]
)
def test_who_the_visitor_is_can_be_hidden_but_not_made_up(name: str) -> None:
    assert check_name(name, removing=True) == name
    with pytest.raises(ValueError, match="who the visitor is"):
        check_name(name)


@pytest.mark.parametrize("name", ["", "A B", "A:", "A\r\n", "ü", ":path", "a" * 257])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(ValueError, match="name of a header field"):
        check_name(name)


@pytest.mark.parametrize("value", ["a\r\nb", "a\nb", "a\0b", "\x7f", "a\x01"])
def test_values_that_would_smuggle_are_refused_and_not_shown(value: str) -> None:
    with pytest.raises(ValueError, match="control character") as caught:
        check_value("secret" + value)
    assert "secret" not in str(caught.value)


def test_values_are_trimmed_bounded_and_kept_as_bytes() -> None:
    assert check_value(" a\tb ü ") == "a\tb ü".encode()
    with pytest.raises(ValueError, match="longer than"):
        check_value("a" * (MAX_VALUE + 1))


def test_values_are_in_no_repr() -> None:
    assert "secret" not in repr(HeaderRules(set=((b"Authorization", b"secret"),), add=((b"X", b"secret"),)))
