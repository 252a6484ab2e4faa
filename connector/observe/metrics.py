"""The reference's metrics under the reference's names (reference/metrics.md), collected when they are asked for.

Counters there carry no `_total`, which the Prometheus client would add: samples are built by hand, and `exposition`
writes the text format. Each Connector has a registry of its own, so that several live in one process.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from pyconnector.connector.api.events import ConnectionState
from pyconnector.connector.link.session import HTTP2, QUIC
from pyconnector.connector.observe.datagram_metrics import datagram_families
from pyconnector.connector.version import version

if TYPE_CHECKING:
    from pyconnector.connector.api.tracker import ConnectionTracker
    from pyconnector.connector.observe.counters import Counters, Histogram, RpcCounters
    from pyconnector.connector.observe.rule_metrics import RuleMetrics
    from pyconnector.transport.seam import Connection

_Labels = dict[str, str]


class ConnectorCollector(Collector):
    """Turns one Connector's counters into metrics."""

    def __init__(
        self,
        counters: Counters,
        tracker: ConnectionTracker,
        connections: Callable[[], dict[int, Connection]],
        rules: RuleMetrics | None = None,
    ) -> None:
        self._counters = counters
        self._tracker = tracker
        self._connections = connections
        self._rules = rules

    def collect(self) -> Iterator[Metric]:
        """Yield every metric that has a value. Labelled ones appear once their first combination was used."""
        yield from self._process()
        yield from self._requests()
        yield from self._registrations()
        yield from self._rpc()
        yield from self._quic()
        if self._rules is not None:
            yield from _rule_metrics(self._rules)

    def _process(self) -> Iterator[Metric]:
        build = {"goversion": "", "type": "", "revision": "", "version": version()}
        yield _metric("build_info", "gauge", "Build and version information", [(build, 1)])
        tracker = self._tracker
        yield _metric("cloudflared_tunnel_ha_connections", "gauge", "Connection attempts running",
                      [({}, tracker.running)])  # fmt: skip
        locations = [
            ({"connection_id": str(index), "edge_location": location}, value)
            for index, found in sorted(tracker.locations.items())
            for location, value in found.items()
        ]
        yield _metric(
            "cloudflared_tunnel_server_locations", "gauge", "1 where the connection is now, 0 where it was", locations
        )
        yield _metric("cloudflared_orchestration_config_version", "gauge", "Version of the pushed configuration",
                      [({}, self._counters.config_version)])  # fmt: skip

    def _requests(self) -> Iterator[Metric]:
        c = self._counters
        yield _counter("cloudflared_tunnel_total_requests", "Requests and TCP streams proxied", c.total_requests)
        yield _metric("cloudflared_tunnel_concurrent_requests_per_tunnel", "gauge", "Requests under way",
                      [({}, c.concurrent_requests)])  # fmt: skip
        codes = [({"status_code": str(status)}, count) for status, count in sorted(c.responses.items())]
        yield _metric("cloudflared_tunnel_response_by_code", "counter", "Complete responses by status", codes)
        yield _counter("cloudflared_tunnel_request_errors", "Requests that failed at the origin", c.request_errors)
        yield _metric("cloudflared_tcp_active_sessions", "gauge", "Private TCP streams under way", [({}, c.tcp_active)])
        yield _counter("cloudflared_tcp_total_sessions", "Private TCP streams", c.tcp_total)
        yield _counter(
            "cloudflared_proxy_connect_streams_errors", "Streams whose origin could not be dialled", c.connect_errors
        )
        yield _histogram("cloudflared_proxy_connect_latency", "Milliseconds until a stream was answered",
                         [({}, c.connect_latency_ms)])  # fmt: skip
        limited = [("tcp", c.flows_limited), ("udp", c.datagrams.limited)]
        yield _metric("flow_client_registrations_rate_limited_total", "counter", "Flows beyond maxActiveFlows",
                      [({"flow_type": kind}, count) for kind, count in limited if count])  # fmt: skip
        for family in datagram_families(c.datagrams):
            yield _metric(*family)
        yield _counter("pyconnector_streams_refused", "Streams beyond the limit of one connection", c.streams_refused)

    def _registrations(self) -> Iterator[Metric]:
        c = self._counters
        name = {"rpcName": "registerConnection"}
        if c.registrations:
            yield _metric(
                "cloudflared_tunnel_tunnel_register_success", "counter", "Registrations", [(name, c.registrations)]
            )
        failed = [({"error": error, **name}, count) for error, count in sorted(c.registrations_failed.items())]
        yield _metric("cloudflared_tunnel_tunnel_register_fail", "counter", "Failed registrations", failed)
        yield _counter(
            "cloudflared_config_local_config_pushes", "Local configurations told to the edge", c.config_pushes
        )
        yield _counter(
            "cloudflared_config_local_config_pushes_errors", "of which it did not take", c.config_push_errors
        )

    def _rpc(self) -> Iterator[Metric]:
        client = [
            ({"handler": "registration", "method": m}, calls)
            for m, calls in sorted(self._counters.client_calls.items())
        ]
        server = [
            ({"handler": handler, "method": method}, calls)
            for (handler, method), calls in sorted(self._counters.server_calls.items())
        ]
        yield from _rpc_metrics("cloudflared_rpc_client", client)
        yield from _rpc_metrics("cloudflared_rpc_server", server)

    def _quic(self) -> Iterator[Metric]:
        c = self._counters
        yield _counter("quic_client_total_connections", "Connections begun", c.quic_connections)
        yield _counter("quic_client_closed_connections", "Connections ended", c.quic_closed)
        protocols = Counter(
            info.protocol for info in self._tracker.connections.values() if info.state is ConnectionState.REGISTERED
        )
        yield _metric(
            "pyconnector_registered_connections", "gauge", "Registered connections by protocol",
            [({"protocol": protocol}, protocols[protocol]) for protocol in (QUIC, HTTP2)],
        )  # fmt: skip
        found = [
            ({"conn_index": str(i)}, statistics)
            for i, conn in sorted(self._connections().items())
            if (statistics := conn.statistics()).engine != "h2"
        ]
        for name, kind, help_text, attribute, scale in _QUIC_METRICS:
            samples = [
                (labels, value * scale)
                for labels, statistics in found
                if (value := getattr(statistics, attribute)) is not None
            ]
            yield _metric(name, kind, help_text, samples)
        sockets = [(labels, statistics.udp) for labels, statistics in found if statistics.udp is not None]
        for name, help_text, sent, received in _UDP_METRICS:
            samples = [
                ({**labels, "direction": way}, getattr(counts, attribute))
                for labels, counts in sockets
                for way, attribute in (("out", sent), ("in", received))
            ]
            yield _metric(name, "counter", help_text, samples)


def _rule_metrics(metrics: RuleMetrics) -> Iterator[Metric]:
    """These have no model in the reference, so their names follow the habits of Prometheus, `_total` included."""
    names = ("rule", "hostname", "path", "service")
    found = [(dict(zip(names, labels, strict=True)), counts) for labels, counts in metrics.rules.items()]
    for name, help_text, attribute in _RULE_COUNTERS:
        yield _metric(name, "counter", help_text, [(labels, getattr(counts, attribute)) for labels, counts in found])
    classes = [
        ({**labels, "class": f"{status_class}xx"}, count)
        for labels, counts in found
        for status_class, count in sorted(counts.responses.items())
    ]
    yield _metric("pyconnector_rule_responses_total", "counter", "Answers of a rule by class of status", classes)
    yield _histogram(
        "pyconnector_rule_request_duration_seconds",
        "Seconds from a whole HTTP request to the end of its answer",
        [(labels, counts.durations) for labels, counts in found],
    )


_RULE_COUNTERS = (
    ("pyconnector_rule_requests_total", "Requests that met a rule", "requests"),
    ("pyconnector_rule_received_bytes_total", "Bytes of body from visitors", "bytes_in"),
    ("pyconnector_rule_sent_bytes_total", "Bytes of body to visitors", "bytes_out"),
    ("pyconnector_rule_origin_errors_total", "Requests whose service could not serve", "origin_errors"),
    ("pyconnector_rule_refused_total", "Requests that a layer such as access refused", "refused"),
)

#: name, type, help, attribute of Statistics, factor
_QUIC_METRICS = (
    ("quic_client_sent_bytes", "counter", "Bytes sent", "bytes_sent", 1),
    ("quic_client_receive_bytes", "counter", "Bytes received", "bytes_received", 1),
    ("quic_client_min_rtt", "gauge", "Smallest round trip in milliseconds", "rtt_minimum", 1000),
    ("quic_client_latest_rtt", "gauge", "Latest round trip in milliseconds", "rtt_latest", 1000),
    ("quic_client_smoothed_rtt", "gauge", "Smoothed round trip in milliseconds", "rtt_smoothed", 1000),
    ("quic_client_congestion_window", "gauge", "Congestion window in bytes", "congestion_window", 1),
    ("pyconnector_quic_lost_packets", "counter", "Packets lost, whatever the reason", "packets_lost", 1),
    ("pyconnector_quic_streams_open", "gauge", "Streams open", "streams_open", 1),
)


#: name, help, attributes of UdpCounts
_UDP_METRICS = (
    ("pyconnector_udp_datagrams", "Datagrams of a connection's socket", "sent", "received"),
    ("pyconnector_udp_calls", "System calls that carried them", "send_calls", "receive_calls"),
)


def make_registry(collector: Collector) -> CollectorRegistry:
    """Return a registry of its own with `collector` and the process's figures."""
    registry = CollectorRegistry()
    registry.register(collector)
    ProcessCollector(registry=registry)
    return registry


def exposition(metrics: Iterable[Metric]) -> bytes:
    """Write `metrics` in the text format, names as they are."""
    lines: list[str] = []
    for metric in metrics:
        samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
        if not samples:
            continue
        name = samples[0].name if metric.type in ("counter", "gauge") else metric.name
        lines.append(f"# HELP {name} {_escaped(metric.documentation)}")
        lines.append(f"# TYPE {name} {metric.type if metric.type != 'unknown' else 'untyped'}")
        for sample in samples:
            labels = ",".join(f'{key}="{_escaped(value, quote=True)}"' for key, value in sorted(sample.labels.items()))
            lines.append(
                f"{sample.name}{{{labels}}} {_number(sample.value)}"
                if labels
                else f"{sample.name} {_number(sample.value)}"
            )
    return ("\n".join(lines) + "\n").encode()


def _escaped(text: str, *, quote: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quote else text


def _number(value: float) -> str:
    return str(int(value)) if value == value and abs(value) < 1e15 and value == int(value) else repr(float(value))


def _metric(name: str, kind: str, help_text: str, samples: Iterable[tuple[_Labels, float]]) -> Metric:
    metric = Metric(name, help_text, kind)
    for labels, value in samples:
        metric.add_sample(name, labels, value)
    return metric


def _counter(name: str, help_text: str, value: float) -> Metric:
    return _metric(name, "counter", help_text, [({}, value)])


def _histogram(name: str, help_text: str, samples: Iterable[tuple[_Labels, Histogram]]) -> Metric:
    metric = Metric(name, help_text, "histogram")
    for labels, histogram in samples:
        buckets = histogram.cumulative()
        for bound, count in buckets:
            metric.add_sample(f"{name}_bucket", {**labels, "le": bound}, count)
        metric.add_sample(f"{name}_sum", labels, histogram.total)
        metric.add_sample(f"{name}_count", labels, buckets[-1][1])
    return metric


def _rpc_metrics(prefix: str, calls: list[tuple[_Labels, RpcCounters]]) -> Iterator[Metric]:
    yield _metric(f"{prefix}_operations", "counter", "Calls", [(labels, call.operations) for labels, call in calls])
    yield _metric(
        f"{prefix}_failures", "counter", "of which failed", [(labels, call.failures) for labels, call in calls]
    )
    yield _histogram(f"{prefix}_latency_secs", "Seconds per call", [(labels, call.latency) for labels, call in calls])
