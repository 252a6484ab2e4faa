"""Addresses that are lent to clients of CONNECT-IP."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest

from pyconnector.edge.private.connect_ip import addresses
from pyconnector.edge.private.connect_ip.addresses import Addresses, v6_of


def test_nobody_has_the_address_of_another_and_all_are_lent_again() -> None:
    pool = Addresses(IPv4Network("10.0.0.0/29"))
    lent = [pool.lend(f"client {number}") for number in range(5)]
    assert [str(each) for each in lent] == [f"10.0.0.{last}" for last in range(2, 7)]
    assert pool.lend("one more") is None
    assert lent[2] is not None
    pool.give_back(lent[2])
    assert pool.lend("one more") == lent[2]


def test_who_comes_back_has_the_address_of_before() -> None:
    pool = Addresses()
    first = pool.lend("a")
    assert first is not None
    assert pool.lend("a") != first  # in use
    pool.lend("b")
    pool.give_back(first)
    assert pool.lend("c") != first
    pool = Addresses()
    first = pool.lend("a")
    assert first is not None
    pool.give_back(first)
    pool.lend("b")
    assert pool.lend("a") == first


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "MAX_REMEMBERED", 3)
    pool = Addresses()
    for number in range(10):
        pool.lend(f"client {number}")
    assert len(pool._last) == 3


def test_the_ipv6_address_ends_in_the_other_one() -> None:
    assert str(v6_of(IPv4Address("100.96.0.2"))) == "2606:4700:cf1:1000::6460:2"
