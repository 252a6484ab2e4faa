"""Which addresses a client is told it may send to: the routes of its virtual network that some rule may let it reach.

What it is not told it learns nothing of; each flow is judged all the same.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Network, collapse_addresses, ip_network
from typing import TYPE_CHECKING, Final

from pyconnector.edge.private.connect_ip.addresses import ROUTER, ROUTER_V6
from pyconnector.identity.devices.addresses import NAME_RANGE
from pyconnector.identity.network_rules import Action, NetworkFlow
from pyconnector.protocol.connect_ip import IpRange

if TYPE_CHECKING:
    from pyconnector.edge.private.gateway.judge import Judge
    from pyconnector.edge.private.gateway.records import FlowRecord
    from pyconnector.identity.network_rules import Network, NetworkRule

#: Ranges that are told at most: a capsule has room for no more.
MAX_RANGES: Final = 400


def ranges_for(judge: Judge, record: FlowRecord, *, names: bool) -> tuple[IpRange, ...]:
    """Return what the client of `record` may send to, sorted; with `names`, the addresses that stand for names too."""
    network_id = judge.network.network_id(record.virtual_network)
    rules = [rule for rule in judge.gate.state.network_rules if rule.action is Action.ALLOW and _means(rule, record)]
    found: list[Network] = [
        network for network in judge.network.routes.networks(network_id) if any(_may(rule, network) for rule in rules)
    ]
    found.extend((ip_network(ROUTER), ip_network(ROUTER_V6)))
    if names:
        found.append(NAME_RANGE)
    fours = list(collapse_addresses(each for each in found if isinstance(each, IPv4Network)))
    sixes = list(collapse_addresses(each for each in found if isinstance(each, IPv6Network)))
    ranges = [IpRange(four.network_address, four.broadcast_address) for four in fours]
    ranges.extend(IpRange(six.network_address, six.broadcast_address) for six in sixes)
    return tuple(ranges[:MAX_RANGES])


def _means(rule: NetworkRule, record: FlowRecord) -> bool:
    """Whether a rule is about this client, whatever it wants."""
    person = record.identified.person if record.identified is not None else None
    anything = NetworkFlow(
        token=record.token, email="" if person is None else person.email, address=IPv4Address(0), port=0,
        protocol="tcp", virtual_network=record.virtual_network,
        source=record.device.address if record.device is not None else None,
    )  # fmt: skip
    broad = replace(rule, ports=(), protocols=frozenset(), networks=(), names=frozenset())
    return broad.matches(anything)


def _may(rule: NetworkRule, network: Network) -> bool:
    if not rule.networks:
        return not rule.names
    return any(each.version == network.version and each.overlaps(network) for each in rule.networks)
