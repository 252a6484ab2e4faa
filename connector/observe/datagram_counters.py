"""What one Connector counts of UDP sessions, ICMP and private names (reference/metrics.md 2 and 3)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

#: Reasons of dropped datagrams beside those of a UDP socket (`origins.udp.flow`).
FLOW_UNKNOWN = "write_flow_unknown"
MALFORMED = "malformed"
UNSUPPORTED = "unsupported"
EGRESS_FULL = "egress_full"
READ_FAILED = "read_failed"


@dataclass(slots=True, eq=False)
class DatagramCounters:
    """Plain numbers; those of version 3, and drops, by connection index."""

    v2_active: int = 0
    v2_total: int = 0
    active: Counter[int] = field(default_factory=Counter)
    total: Counter[int] = field(default_factory=Counter)
    failed: Counter[int] = field(default_factory=Counter)
    retries: Counter[int] = field(default_factory=Counter)
    migrated: Counter[int] = field(default_factory=Counter)
    unsupported_commands: Counter[tuple[int, str]] = field(default_factory=Counter)
    dropped: Counter[tuple[int, str]] = field(default_factory=Counter)
    "By connection index and reason."
    too_big: int = 0
    "What services sent beyond the size of a datagram, in version 2."
    limited: int = 0
    "Sessions beyond maxActiveFlows."
    icmp_requests: int = 0
    icmp_replies: int = 0
    icmp_dropped: Counter[tuple[int, str]] = field(default_factory=Counter)
    "By connection index and reason."
    dns_requests: Counter[str] = field(default_factory=Counter)
    "Flows to the virtual DNS service, by protocol."
