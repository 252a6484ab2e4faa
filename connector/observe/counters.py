"""What one Connector counts, as plain numbers: the hot path adds, `connector.observe.metrics` reads at scrape time."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

from pyconnector.connector.observe.datagram_counters import DatagramCounters


class Histogram:
    """Observations in buckets, cumulative only when read."""

    def __init__(self, *bounds: float) -> None:
        self.bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one observation."""
        self._counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def cumulative(self) -> list[tuple[str, int]]:
        """Return the buckets as Prometheus wants them: upper bound as text, count up to it."""
        counted, buckets = 0, []
        for bound, count in zip((*self.bounds, float("inf")), self._counts, strict=True):
            counted += count
            buckets.append(("+Inf" if bound == float("inf") else f"{bound:g}", counted))
        return buckets


def _rpc_latency() -> Histogram:
    return Histogram(0.05, 0.15, 0.45, 1.35, 4.05)


@dataclass(slots=True, eq=False)
class RpcCounters:
    """Calls of one RPC method."""

    operations: int = 0
    failures: int = 0
    latency: Histogram = field(default_factory=_rpc_latency)


@dataclass(slots=True, eq=False)
class Counters:
    """Named after the metrics of reference/metrics.md."""

    total_requests: int = 0
    concurrent_requests: int = 0
    request_errors: int = 0
    responses: Counter[int] = field(default_factory=Counter)
    tcp_active: int = 0
    tcp_total: int = 0
    flows_limited: int = 0
    connect_latency_ms: Histogram = field(default_factory=lambda: Histogram(1, 10, 25, 50, 100, 500, 1000, 5000))
    connect_errors: int = 0
    registrations: int = 0
    registrations_failed: Counter[str] = field(default_factory=Counter)
    config_pushes: int = 0
    config_push_errors: int = 0
    config_version: int = 0
    quic_connections: int = 0
    quic_closed: int = 0
    streams_refused: int = 0
    client_calls: dict[str, RpcCounters] = field(default_factory=dict)
    server_calls: dict[tuple[str, str], RpcCounters] = field(default_factory=dict)
    "By handler and method."
    datagrams: DatagramCounters = field(default_factory=DatagramCounters)

    def client_call(self, method: str) -> RpcCounters:
        """The counters of an RPC method that this side calls."""
        return self.client_calls.setdefault(method, RpcCounters())

    def server_call(self, handler: str, method: str) -> RpcCounters:
        """The counters of an RPC method that the edge calls."""
        return self.server_calls.setdefault((handler, method), RpcCounters())
