"""Settings of private-network traffic: `warp-routing` (reference/ingress.md 1.2 and 10)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pyconnector.ingress.config.errors import IngressError, RuleProblem, describe
from pyconnector.ingress.config.keys.kinds import Duration, Reader, Whole
from pyconnector.ingress.config.keys.table import Key, Table


@dataclass(frozen=True, slots=True, kw_only=True)
class WarpRouting:
    """How TCP and UDP flows by address are carried. Times in seconds; 0 flows means no limit."""

    connect_timeout: float = 5.0
    tcp_keepalive: float = 30.0
    max_active_flows: int = 0
    warnings: tuple[RuleProblem, ...] = field(default=(), compare=False)
    "What is useless or surprising in the config."


WARP_ROUTING = Table(
    keys=(
        Key(
            name="connectTimeout",
            field="connect_timeout",
            kind=Duration(example="a duration like 5s"),
            meaning="Time for a connection to a private address to be made; 0s for no limit.",
        ),
        Key(
            name="tcpKeepAlive",
            field="tcp_keepalive",
            kind=Duration(negative=True),
            meaning="Interval of TCP keep-alive; 0s for the system's own, negative to turn it off.",
        ),
        Key(
            name="maxActiveFlows",
            field="max_active_flows",
            kind=Whole(minimum=0, maximum=(1 << 64) - 1, example="a number of flows"),
            meaning="TCP and UDP flows at a time; 0 for no limit.",
        ),
    ),
    retired={
        "enabled": "private traffic is carried whenever the tunnel has private routes; remove those to block it",
    },
)


def parse_warp_routing(config: Mapping[Any, Any], *, allow_unknown_keys: bool = False) -> WarpRouting:
    """Read `warp-routing` of a whole config; defaults where there is none.

    Raises:
        IngressError: something is wrong; all of it is in there.
    """
    return read_warp_routing(config, Reader(allow_unknown_keys=allow_unknown_keys))


def read_warp_routing(config: object, reader: Reader) -> WarpRouting:
    """Read `warp-routing` the way `reader` says. Raises as `parse_warp_routing`."""
    section = config.get("warp-routing") if isinstance(config, Mapping) else None
    if section is None:
        return WarpRouting()
    if not isinstance(section, Mapping):
        reader.problems.add(("warp-routing",), f"expected a mapping of settings, found {describe(section)}")
        raise IngressError(reader.problems.problems)
    values = WARP_ROUTING.read(section, ("warp-routing",), reader)
    reader.problems.raise_if_any()
    fields = {WARP_ROUTING[name].field: value for name, value in values.items()}
    return WarpRouting(**fields, warnings=tuple(reader.problems.problems))
