from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from pyconnector.origins.dns.virtual import FALLBACK, REFRESH_SECONDS, VirtualDns, parse_address, system_resolver


def test_only_the_virtual_service_leads_elsewhere() -> None:
    counted: Counter[str] = Counter()
    dns = VirtualDns([("10.0.0.53", 5353)], time=lambda: 0.0, counted=counted)
    assert dns.lead("2606:4700:cf1:2000::1", 53, "udp") == ("10.0.0.53", 5353)
    assert dns.lead("2606:4700:0cf1:2000:0:0:0:1", 53, "tcp") == ("10.0.0.53", 5353)
    for other in (("2606:4700:cf1:2000::1", 80), ("2606:4700:cf1:2000::2", 53), ("10.0.0.1", 53), ("name", 53)):
        assert dns.lead(*other, "udp") == other
    assert counted == {"udp": 1, "tcp": 1}


def test_the_system_s_resolver_is_looked_up_again_after_a_while() -> None:
    now, answers = [0.0], [("10.0.0.1", 53), None, ("10.0.0.2", 53)]
    dns = VirtualDns(time=lambda: now[0], system=lambda: answers.pop(0))
    seen = []
    for moment in (0.0, REFRESH_SECONDS - 1, REFRESH_SECONDS, 2 * REFRESH_SECONDS):
        now[0] = moment
        seen.append(dns.lead("2606:4700:cf1:2000::1", 53, "udp"))
    assert seen == [("10.0.0.1", 53)] * 3 + [("10.0.0.2", 53)]


def test_without_a_resolver_it_is_the_local_one() -> None:
    dns = VirtualDns(time=lambda: 0.0, system=lambda: None)
    assert dns.lead("2606:4700:cf1:2000::1", 53, "udp") == FALLBACK


def test_one_of_several_is_chosen() -> None:
    given = [("10.0.0.1", 53), ("10.0.0.2", 53)]
    dns = VirtualDns(given, time=lambda: 0.0, choose=lambda all_of_them: all_of_them[-1])
    assert dns.lead("2606:4700:cf1:2000::1", 53, "udp") == given[1]


def test_the_first_usable_name_server_counts(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text(
        "# nameserver 1.1.1.1\nsearch x\nnameserver fe80::1%eth0\nnameserver nonsense\n nameserver 10.1.1.1\n"
    )
    assert system_resolver(path) == ("10.1.1.1", 53)
    assert system_resolver(tmp_path / "none") is None
    path.write_bytes(b"\xff\xfe nameserver")
    assert system_resolver(path) is None


@pytest.mark.parametrize("text", ["", "10.0.0.1", "10.0.0.1:0", "10.0.0.1:65536", "::1:53", "[10.0.0.1]:53", "dns:53"])
def test_what_is_no_resolver_is_said(text: str) -> None:
    with pytest.raises(ValueError, match="is no resolver: give an IP address and a port"):
        parse_address(text)


def test_resolvers_of_both_families_are_read() -> None:
    assert parse_address("10.0.0.1:5353") == ("10.0.0.1", 5353)
    assert parse_address("[fd00::1]:53") == ("fd00::1", 53)
