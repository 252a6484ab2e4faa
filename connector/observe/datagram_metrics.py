"""UDP sessions and ICMP as metrics, under the reference's names (reference/metrics.md 3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from pyconnector.connector.observe.datagram_counters import DatagramCounters

#: Name, type, help, samples by their labels.
Family: TypeAlias = tuple[str, str, str, list[tuple[dict[str, str], float]]]


def datagram_families(c: DatagramCounters) -> Iterable[Family]:
    """Return the metrics; those by connection have samples once something was counted there."""
    yield "cloudflared_udp_active_sessions", "gauge", "UDP sessions of version 2", [({}, c.v2_active)]
    yield "cloudflared_udp_total_sessions", "counter", "UDP sessions of version 2 so far", [({}, c.v2_total)]
    yield "quic_client_packet_too_big_dropped", "counter", "Datagrams of services that are too large", [({}, c.too_big)]
    for name, kind, text, counted in (
        ("active_flows", "gauge", "UDP sessions of version 3", c.active),
        ("total_flows", "counter", "UDP sessions of version 3 so far", c.total),
        ("failed_flows", "counter", "UDP sessions that a failure ended", c.failed),
        ("retry_flow_responses", "counter", "Registrations answered again", c.retries),
        ("migrated_flows", "counter", "UDP sessions moved to this connection", c.migrated),
    ):
        yield f"cloudflared_udp_{name}", kind, text, _by_connection(counted)
    yield (
        "cloudflared_udp_unsupported_remote_command_total", "counter", "Calls of version 2 while version 3 is spoken",
        [({"command": command, "conn_index": str(index)}, n)
         for (index, command), n in sorted(c.unsupported_commands.items())],
    )  # fmt: skip
    yield (
        "cloudflared_udp_dropped_datagrams", "counter", "Datagrams dropped, by reason",
        [({"conn_index": str(index), "reason": reason}, n) for (index, reason), n in sorted(c.dropped.items())],
    )  # fmt: skip
    yield (
        "cloudflared_icmp_total_requests",
        "counter",
        "Echo requests sent to private addresses",
        [({}, c.icmp_requests)],
    )
    yield "cloudflared_icmp_total_replies", "counter", "Echo replies that came back", [({}, c.icmp_replies)]
    yield (
        "cloudflared_icmp_dropped_packets", "counter", "ICMP packets dropped, by reason",
        [({"conn_index": str(index), "reason": reason}, n) for (index, reason), n in sorted(c.icmp_dropped.items())],
    )  # fmt: skip
    yield (
        "cloudflared_virtual_origins_dns_requests_total", "counter", "Flows to the virtual DNS service",
        [({"protocol": protocol}, n) for protocol, n in sorted(c.dns_requests.items())],
    )  # fmt: skip


def _by_connection(counted: Counter[int]) -> list[tuple[dict[str, str], float]]:
    return [({"conn_index": str(index)}, n) for index, n in sorted(counted.items())]
