from __future__ import annotations

from pyconnector.connector.discovery.address_book import FAMILY_FALLBACK_SECONDS, AddressBook, Region

A, B, C, D = ("192.0.2.1", 7844), ("192.0.2.2", 7844), ("192.0.2.3", 7844), ("192.0.2.4", 7844)
A6, B6 = ("2001:db8::1", 7844), ("2001:db8::2", 7844)


def first(addresses: object) -> tuple[str, int]:
    assert isinstance(addresses, list)
    found = addresses[0]
    assert isinstance(found, tuple)
    return found


def test_an_index_keeps_its_address() -> None:
    book = AddressBook([Region([A, B])], choose=first)
    assert book.take(0) == A
    assert book.take(1) == B
    assert book.take(0) == A


def test_addresses_of_discovery_are_used_once_each_and_limit_the_connections() -> None:
    book = AddressBook([Region([A]), Region([B])], choose=first)
    assert book.capacity(4) == 2
    assert {book.take(0), book.take(1)} == {A, B}
    assert book.take(2) is None


def test_the_region_with_more_free_addresses_comes_first() -> None:
    book = AddressBook([Region([A]), Region([B, C, D])], choose=first)
    assert book.take(0) == B
    assert book.take(1) == C


def test_given_addresses_are_shared_evenly() -> None:
    book = AddressBook([Region([A]), Region([B])], choose=first, shared=True)
    assert book.capacity(4) == 4
    taken = [book.take(index) for index in range(4)]
    assert sorted(taken, key=str) == [A, A, B, B]


def test_rotation_gives_another_address_and_says_when_there_is_none() -> None:
    book = AddressBook([Region([A]), Region([B])], choose=first, shared=True)
    assert book.take(0) == A
    assert book.rotate(0, now=0.0)
    assert book.take(0) == B
    lone = AddressBook([Region([A])], choose=first, shared=True)
    lone.take(0)
    assert not lone.rotate(0, now=0.0)
    assert lone.take(0) == A


def test_a_region_falls_back_to_ipv4_for_ten_minutes() -> None:
    region = Region([A6, A, B6])
    assert region.active() == [A6, B6]
    region.failed(A6, now=100.0)
    assert region.active() == [A]
    region.failed(("203.0.113.9", 1), now=100.0 + FAMILY_FALLBACK_SECONDS - 1)
    assert region.active() == [A]
    region.failed(("203.0.113.9", 1), now=100.0 + FAMILY_FALLBACK_SECONDS)
    assert region.active() == [A6, B6]


def test_a_failing_address_of_the_fallback_family_ends_the_fallback_at_once() -> None:
    region = Region([A6, A])
    region.failed(A6, now=0.0)
    region.failed(A, now=1.0)
    assert region.active() == [A6]


def test_a_region_without_ipv6_never_falls_back() -> None:
    region = Region([A, A6])
    region.failed(A, now=0.0)
    assert region.active() == [A]


def test_a_forced_family_is_the_only_one() -> None:
    assert Region([A6, A], ip_version="4").active() == [A]
    assert Region([A, A6], ip_version="6").active() == [A6]
    assert AddressBook([Region([A], ip_version="6")], choose=first).capacity(4) == 0


def test_an_index_keeps_its_address_where_all_others_are_in_use() -> None:
    book = AddressBook([Region([A, B]), Region([C, D])], choose=first, shared=True)
    taken = [book.take(index) for index in range(4)]
    assert not book.rotate(0, now=0.0)
    assert [book.take(index) for index in range(4)] == taken
    assert set(taken) == {A, B, C, D}


def test_an_index_leaves_a_shared_address_for_a_free_one() -> None:
    region = Region([A6, A, B])
    book = AddressBook([region], choose=first, shared=True)
    region.failed(A6, now=0.0)
    assert [book.take(index) for index in range(3)] == [A, B, A]
    region.failed(A, now=FAMILY_FALLBACK_SECONDS)
    assert book.take(2) == A6
    assert [book.take(index) for index in range(2)] == [A, B]


def test_of_free_addresses_the_quickest_known_is_taken() -> None:
    slow, quick, unknown = (("192.0.2.1", 1), ("192.0.2.2", 1), ("192.0.2.3", 1))
    book = AddressBook([Region([slow, quick, unknown])], choose=lambda found: found[-1])
    book.reached(slow, 0.3)
    book.reached(quick, 0.1)
    assert book.take(0) == quick
    assert book.take(1) == slow
    assert book.take(2) == unknown


def test_an_address_that_failed_is_not_preferred() -> None:
    quick, other = (("192.0.2.1", 1), ("192.0.2.2", 1))
    book = AddressBook([Region([quick, other])], choose=lambda found: found[-1])
    book.reached(quick, 0.1)
    assert book.take(0) == quick
    assert book.rotate(0, now=0.0)
    assert book.take(1) == quick, "there is no other"
    book.rotate(1, now=0.0)
    assert book._handshakes == {}


def test_both_families_are_used_at_once() -> None:
    four = [(f"192.0.2.{number}", 1) for number in range(3)]
    six = [(f"2001:db8::{number}", 1) for number in range(3)]
    book = AddressBook([Region([*four, *six], "both"), Region([*six, *four], "both")], choose=lambda found: found[0])
    taken = [book.take(index) for index in range(4)]
    assert sorted(":" in address[0] for address in taken if address) == [False, False, True, True]
    assert len(set(taken)) == 4
