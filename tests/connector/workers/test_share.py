from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pyconnector.connector.discovery.address_book import Region
from pyconnector.connector.workers.share import Share

if TYPE_CHECKING:
    from pyconnector.transport.seam import Address

FOUR: list[Address] = [(f"192.0.2.{number}", 7844) for number in range(4)]
SIX: list[Address] = [(f"2001:db8::{number}", 7844) for number in range(4)]


def shares(count: int) -> list[Share]:
    return [Share(number=number, workers=count) for number in range(count)]


@pytest.mark.parametrize("workers", [1, 2, 3, 4])
def test_every_index_belongs_to_one_worker(workers: int) -> None:
    indices = [index for share in shares(workers) for index in share.indices(4)]
    assert sorted(indices) == [0, 1, 2, 3]
    assert shares(workers)[0].indices(4)[0] == 0


def test_addresses_that_are_used_once_are_shared_out_whatever_order_dns_gives() -> None:
    one, other = shares(2)
    first = [address for region in one.regions([Region(FOUR), Region(SIX)]) for address in region.addresses]
    second = [
        address for region in other.regions([Region(FOUR[::-1]), Region(SIX[::-1])]) for address in region.addresses
    ]
    assert sorted(first + second) == sorted(FOUR + SIX)
    assert len(first) == len(second) == 4


def test_the_primary_family_of_a_region_stays_primary() -> None:
    for share in shares(2):
        [region] = share.regions([Region([*SIX, *FOUR])])
        assert ":" in region.active()[0][0]


def test_regions_of_one_address_go_to_different_workers() -> None:
    found = [[each.addresses for each in share.regions([Region(FOUR[:1]), Region(FOUR[1:2])])] for share in shares(2)]
    assert found == [[FOUR[:1], []], [[], FOUR[1:2]]]


def test_a_worker_without_an_address_may_use_all() -> None:
    regions = [Region(FOUR[:1])]
    assert shares(3)[2].regions(regions) == regions


def test_workers_begin_with_different_addresses() -> None:
    chosen = {share.choose(FOUR) for share in shares(4) if share.choose is not None}
    assert chosen == set(FOUR)
    assert Share().choose is None


def test_limits_of_flows_are_divided_and_never_lifted() -> None:
    assert [Share(workers=4).of_flows(limit) for limit in (0, 1, 4, 10)] == [0, 1, 1, 3]
