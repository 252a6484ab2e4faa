import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyconnector.ingress.rules.ip_rules import IpRule, deciding_rule, is_allowed, parse_prefix

INSIDE = IpRule(prefix=parse_prefix("10.0.0.0/8"), ports=(80, 443), allow=True)
PRINTER = IpRule(prefix=parse_prefix("10.1.0.0/16"), allow=False)
EVERYTHING = IpRule(prefix=parse_prefix("0.0.0.0/0"), allow=True)


def test_nothing_is_allowed_by_default() -> None:
    assert not is_allowed((), "10.0.0.1", 80)
    assert not is_allowed((INSIDE,), "192.168.0.1", 80)
    assert not is_allowed((INSIDE,), "10.0.0.1", 22)


def test_the_first_rule_that_fits_decides() -> None:
    assert is_allowed((INSIDE, PRINTER), "10.1.0.1", 80)
    assert not is_allowed((PRINTER, INSIDE), "10.1.0.1", 80)
    assert not is_allowed((PRINTER, EVERYTHING), "10.1.0.1", 22)
    assert is_allowed((PRINTER, EVERYTHING), "10.2.0.1", 22)
    assert deciding_rule((PRINTER, INSIDE), "10.2.0.1", 80) is INSIDE


@pytest.mark.parametrize(
    ("prefix", "address", "allowed"),
    [
        ("10.0.0.0/8", "::ffff:10.0.0.1", True),
        ("::ffff:10.0.0.0/104", "10.0.0.1", True),
        ("::/0", "10.0.0.1", False),
        ("::/0", "::1", True),
        ("0.0.0.0/0", "::1", False),
        ("fe80::/10", "fe80::1%eth0", True),
        ("10.9.9.9/8", "10.0.0.1", True),
    ],
)
def test_families(prefix: str, address: str, allowed: bool) -> None:
    assert is_allowed((IpRule(prefix=parse_prefix(prefix), allow=True),), address, 1) is allowed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10.0.0.0",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/255.0.0.0",
        "x/8",
        "fe80::%e/64",
        "10.0.0.0/-1",
        "010.0.0.0/8",
        "/8",
        "10.0.0.0/8/8",
    ],
)
def test_refuses_what_is_no_network(text: str) -> None:
    with pytest.raises(ValueError, match=r"such as 10\.0\.0\.0/8"):
        parse_prefix(text)


def test_an_address_that_is_none_is_an_error_and_not_a_yes() -> None:
    with pytest.raises(ValueError, match="localhost"):
        is_allowed((EVERYTHING,), "localhost", 80)


@given(
    st.ip_addresses(),
    st.integers(1, 65535),
    st.lists(st.tuples(st.ip_addresses(v=4), st.integers(0, 32), st.booleans())),
)
def test_never_allows_what_no_allowing_rule_holds(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
    port: int,
    entries: list[tuple[ipaddress.IPv4Address, int, bool]],
) -> None:
    rules = [IpRule(prefix=parse_prefix(f"{base}/{bits}"), allow=allow) for base, bits, allow in entries]
    if is_allowed(rules, address, port):
        plain = getattr(address, "ipv4_mapped", None) or address  # ::ffff:a.b.c.d counts as a.b.c.d
        assert any(rule.allow and plain in rule.prefix for rule in rules)
