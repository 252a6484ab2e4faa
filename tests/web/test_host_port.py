"""`host:port` taken apart and put together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyconnector.web.host_port import join_host_port, port_number, split_host_port, split_ip_port


@given(st.text(alphabet="ab:[]%.", max_size=12))
def test_splitting_loses_nothing(text: str) -> None:
    parts = split_host_port(text)
    if parts is not None:
        assert text in (f"{parts[0]}:{parts[1]}", f"[{parts[0]}]:{parts[1]}")


@pytest.mark.parametrize("text", ["a:1", "[::1]:443", "example.com:", "10.0.0.1:65535"])
def test_what_was_split_is_joined_again(text: str) -> None:
    parts = split_host_port(text)
    assert parts is not None
    assert join_host_port(*parts) == text


@pytest.mark.parametrize("text", ["", "0", "65536", "-1", "+1", " 1", "١", "000001", "1e3", "9" * 5000])
def test_what_is_no_port_is_none(text: str) -> None:
    assert port_number(text) is None


def test_port_0_is_one_where_it_is_asked_for() -> None:
    assert (port_number("0", least=0), port_number("65535")) == (0, 65535)


@pytest.mark.parametrize(
    ("text", "address"),
    [("10.0.0.1:22", ("10.0.0.1", 22)), ("[2001:DB8::1]:53", ("2001:db8::1", 53)), ("[fe80::1%2]:1", ("fe80::1%2", 1))],
)
def test_an_address_comes_back_in_its_usual_form(text: str, address: tuple[str, int]) -> None:
    assert split_ip_port(text) == address


@pytest.mark.parametrize("text", ["db:22", "10.0.0.1", "10.0.0.1:0", "::1:22", "[10.0.0.1]:22", "[::1]", "10.0.0.1:x"])
def test_names_and_bare_addresses_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        split_ip_port(text)
