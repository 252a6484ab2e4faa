"""Names of a device: the addresses that stand for them, and what its DNS questions are answered."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import dns.message
import dns.opcode
import dns.rcode
import dns.rdatatype
import pytest

from pyconnector.edge.private.device_dns.dns import MAX_ADDITIONAL, answer_query
from pyconnector.edge.private.device_dns.name_addresses import REST, NameAddresses

TINY = IPv4Network("10.8.0.0/30")


def test_an_address_stands_for_a_name_until_it_was_unused_for_long() -> None:
    names = NameAddresses(TINY)
    assert names.address_of("a", 0) == names.address_of("a", 1) == IPv4Address("10.8.0.1")
    assert names.address_of("b", 2) == IPv4Address("10.8.0.2")
    assert names.address_of("c", 3) is None  # whoever was told the others may still use them
    assert names.name_of(IPv4Address("10.8.0.1"), 100) == "a"
    assert names.address_of("c", 2 + REST) == IPv4Address("10.8.0.2")
    assert names.name_of(IPv4Address("10.8.0.2"), 200) == "c"
    assert names.name_of(IPv4Address("10.8.0.3"), 200) is None
    assert len(names) == 2


def asked(name: str, kind: str = "A", rdclass: str = "IN") -> dns.message.Message:
    query = dns.message.make_query(name, kind, rdclass)
    wire = answer_query(
        query.to_wire(), lambda text: text.endswith(".internal"),
        lambda text: None if text == "full.internal" else IPv4Address("10.8.0.1"),
    )  # fmt: skip
    assert wire is not None
    answer = dns.message.from_wire(wire)
    assert query.is_response(answer)
    return answer


def test_private_names_get_an_address_and_others_are_refused() -> None:
    (found,) = asked("DB.internal").answer[0]
    assert str(found) == "10.8.0.1"
    assert (asked("db.internal", "AAAA").rcode(), asked("db.internal", "AAAA").answer) == (dns.rcode.NOERROR, [])
    assert asked("example.com").rcode() == dns.rcode.REFUSED
    assert asked("db.internal", "A", "CH").rcode() == dns.rcode.REFUSED
    assert asked("full.internal").rcode() == dns.rcode.SERVFAIL


@pytest.mark.parametrize("odd", [b"", b"x", bytes(11), bytes(5000), bytes.fromhex("0001ffff") + bytes(8)])
def test_what_is_no_question_gets_no_answer(odd: bytes) -> None:
    assert answer_query(odd, lambda _: True, lambda _: None) is None


@pytest.mark.parametrize("section", [6, 8, 10])
def test_messages_that_are_dear_to_read_are_not_read(section: int, monkeypatch: pytest.MonkeyPatch) -> None:
    read = dns.message.from_wire
    monkeypatch.setattr(dns.message, "from_wire", lambda wire: pytest.fail("it was read"))
    question = b"\x01a" * 60 + b"\0" + bytes((0, 1, 0, 1))
    record = b"\xc0\x0c" + bytes((0, 1, 0, 1, 0, 0, 0, 0, 0, 4)) + b"abcd"  # each has that name of 60 labels
    for number in (MAX_ADDITIONAL + 1, 60):
        head = bytearray((0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0))
        head[section + 1] = number
        assert answer_query(bytes(head) + question + record * number, lambda _: True, lambda _: None) is None
    monkeypatch.setattr(dns.message, "from_wire", read)
    query = dns.message.make_query("db.internal", "A", use_edns=0)
    assert answer_query(query.to_wire(), lambda _: True, lambda _: None) is not None


def test_other_operations_are_not_there() -> None:
    query = dns.message.make_query("db.internal", "A")
    query.set_opcode(dns.opcode.NOTIFY)
    wire = answer_query(query.to_wire(), lambda _: True, lambda _: None)
    assert wire is not None
    assert dns.message.from_wire(wire).rcode() == dns.rcode.NOTIMP
