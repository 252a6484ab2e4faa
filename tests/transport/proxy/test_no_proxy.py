"""What NO_PROXY covers, in the ways in which other programs read it."""

from __future__ import annotations

import pytest

from pyconnector.transport.proxy.bypass import MAX_ENTRIES, parse_no_proxy


@pytest.mark.parametrize(
    ("text", "host", "covered"),
    [
        ("", "edge.test", False),
        ("*", "edge.test", True),
        ("*", "192.0.2.1", True),
        ("edge.test", "edge.test", True),
        ("Edge.Test.", "edge.TEST.", True),
        ("edge.test", "a.edge.test", True),
        ("edge.test", "myedge.test", False),
        (".edge.test", "a.edge.test", True),
        (".edge.test", "edge.test", False),
        ("*.edge.test", "a.edge.test", True),
        ("a, edge.test b", "edge.test", True),
        ("edge.test:7844", "edge.test", True),
        ("edge.test:80", "edge.test", False),
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.0/24", "192.0.2.77", True),
        ("192.0.2.0/24", "192.0.3.1", False),
        ("192.0.2.0/24", "::ffff:192.0.2.77", True),
        ("192.0.2.1:80", "192.0.2.1", False),
        ("2001:db8::/32", "2001:db8::1", True),
        ("[2001:db8::1]:7844", "2001:db8::1", True),
        ("2001:db8::1", "2001:db8::2", False),
        ("", "localhost", True),
        ("", "127.0.0.5", True),
        ("", "::1", True),
        ("///,:,,[", "edge.test", False),
    ],
)
def test_names_addresses_and_networks_are_covered(text: str, host: str, covered: bool) -> None:
    assert parse_no_proxy(text).covers(host, 7844) is covered


def test_a_variable_of_any_length_is_read_in_part() -> None:
    assert len(parse_no_proxy("a.test," * (MAX_ENTRIES + 1)).names) == MAX_ENTRIES
