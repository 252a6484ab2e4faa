from __future__ import annotations

import uuid

import pytest

from pyconnector.connector.api.events import Connecting, Disconnected, Registered
from pyconnector.connector.api.tracker import ConnectionTracker
from pyconnector.connector.observe.counters import Counters, Histogram
from pyconnector.connector.observe.metrics import ConnectorCollector, exposition, make_registry
from pyconnector.connector.observe.rule_metrics import RuleCounts, RuleMetrics
from pyconnector.transport.memory import memory_pair
from pyconnector.transport.seam import Statistics, UdpCounts


def scrape(counters: Counters, tracker: ConnectionTracker | None = None, connections: object = None) -> dict[str, str]:
    collector = ConnectorCollector(counters, tracker or ConnectionTracker(), lambda: connections or {})  # type: ignore[arg-type, return-value]
    lines = exposition(make_registry(collector).collect()).decode().splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


def registered(index: int, location: str) -> Registered:
    return Registered(
        index=index, address=("192.0.2.1", 7844), location=location, connection_id=uuid.uuid4(), remotely_managed=False
    )


def test_counters_have_the_references_names_without_total() -> None:
    counters = Counters(total_requests=3, concurrent_requests=1, registrations=2)
    counters.responses[200] = 5
    counters.registrations_failed["server_error"] = 1
    counters.flows_limited = 4
    found = scrape(counters)
    assert found["cloudflared_tunnel_total_requests"] == "3"
    assert found["cloudflared_tunnel_concurrent_requests_per_tunnel"] == "1"
    assert found['cloudflared_tunnel_response_by_code{status_code="200"}'] == "5"
    assert found['cloudflared_tunnel_tunnel_register_success{rpcName="registerConnection"}'] == "2"
    assert found['cloudflared_tunnel_tunnel_register_fail{error="server_error",rpcName="registerConnection"}'] == "1"
    assert found['flow_client_registrations_rate_limited_total{flow_type="tcp"}'] == "4"
    assert not any(name.startswith("cloudflared_tunnel") and "_total{" in name for name in found)
    assert any(name.startswith("build_info{") for name in found)


def test_udp_sessions_are_counted_under_the_references_names() -> None:
    counters = Counters()
    found = counters.datagrams
    found.v2_active, found.v2_total, found.limited, found.too_big = 2, 5, 1, 4
    found.active[1] = found.total[1] = 3
    found.migrated[2] = 1
    found.dropped[0, "write_flow_unknown"] = 7
    found.unsupported_commands[0, "register_udp_session"] = 1
    lines = scrape(counters)
    assert lines["cloudflared_udp_active_sessions"] == "2"
    assert lines["cloudflared_udp_total_sessions"] == "5"
    assert lines["quic_client_packet_too_big_dropped"] == "4"
    assert lines['cloudflared_udp_active_flows{conn_index="1"}'] == "3"
    assert lines['cloudflared_udp_migrated_flows{conn_index="2"}'] == "1"
    assert lines['cloudflared_udp_dropped_datagrams{conn_index="0",reason="write_flow_unknown"}'] == "7"
    command = 'command="register_udp_session",conn_index="0"'
    assert lines[f"cloudflared_udp_unsupported_remote_command_total{{{command}}}"] == "1"
    assert lines['flow_client_registrations_rate_limited_total{flow_type="udp"}'] == "1"


def test_what_each_rule_served_has_its_labels() -> None:
    rules = RuleMetrics()
    counts = rules.rules["0", 'a"b.test', "", "http://localhost:1"] = RuleCounts(requests=3, bytes_out=7, refused=1)
    counts.responses[2] = 2
    counts.durations.observe(0.02)
    registry = make_registry(ConnectorCollector(Counters(), ConnectionTracker(), dict, rules))
    lines = exposition(registry.collect()).decode().splitlines()
    labels = r'hostname="a\"b.test",path="",rule="0",service="http://localhost:1"'
    assert f"pyconnector_rule_requests_total{{{labels}}} 3" in lines
    assert f"pyconnector_rule_sent_bytes_total{{{labels}}} 7" in lines
    assert f"pyconnector_rule_refused_total{{{labels}}} 1" in lines
    assert f'pyconnector_rule_responses_total{{class="2xx",{labels}}} 2' in lines
    assert f"pyconnector_rule_request_duration_seconds_count{{{labels}}} 1" in lines
    assert "# TYPE pyconnector_rule_requests_total counter" in lines


def test_types_are_said_under_the_same_names() -> None:
    text = exposition(make_registry(ConnectorCollector(Counters(), ConnectionTracker(), dict)).collect()).decode()
    assert "# TYPE cloudflared_tunnel_total_requests counter" in text
    assert "# TYPE cloudflared_tunnel_ha_connections gauge" in text
    assert "# TYPE cloudflared_proxy_connect_latency histogram" in text


def test_labelled_metrics_appear_with_their_first_use() -> None:
    found = scrape(Counters())
    assert not any("response_by_code" in name or "register_success" in name for name in found)


def test_histograms_are_cumulative() -> None:
    histogram = Histogram(1, 10)
    for value in (0.5, 1, 5, 50):
        histogram.observe(value)
    assert histogram.cumulative() == [("1", 2), ("10", 3), ("+Inf", 4)]
    counters = Counters()
    counters.client_call("register_connection").latency.observe(0.2)
    counters.client_call("register_connection").operations += 1
    found = scrape(counters)
    labels = 'handler="registration",le="0.45",method="register_connection"'
    assert found[f"cloudflared_rpc_client_latency_secs_bucket{{{labels}}}"] == "1"
    labels = 'handler="registration",method="register_connection"'
    assert float(found[f"cloudflared_rpc_client_latency_secs_sum{{{labels}}}"]) == pytest.approx(0.2)
    assert found[f"cloudflared_rpc_client_operations{{{labels}}}"] == "1"


def test_a_location_that_was_left_is_zero() -> None:
    tracker = ConnectionTracker()
    tracker.observe(registered(0, "LHR"))
    tracker.observe(Disconnected(index=0, reason="gone"))
    tracker.observe(registered(0, "CDG"))
    tracker.observe(Connecting(index=1, address=("192.0.2.1", 7844)))
    found = scrape(Counters(), tracker)
    assert found['cloudflared_tunnel_server_locations{connection_id="0",edge_location="LHR"}'] == "0"
    assert found['cloudflared_tunnel_server_locations{connection_id="0",edge_location="CDG"}'] == "1"
    assert found["cloudflared_tunnel_ha_connections"] == "2"


async def test_connections_tell_their_own_figures() -> None:
    import asyncio

    ours, theirs = memory_pair()
    stream = await ours.open_stream()
    stream.send_nowait(b"12345")
    await asyncio.sleep(0)
    found = scrape(Counters(), connections={2: ours})
    assert int(found['quic_client_sent_bytes{conn_index="2"}']) >= 5
    assert 'pyconnector_quic_streams_open{conn_index="2"}' in found
    theirs.close()


def test_labels_are_escaped() -> None:
    tracker = ConnectionTracker()
    tracker.observe(registered(0, 'a"b\\c\nd'))
    assert any('edge_location="a\\"b\\\\c\\nd"' in name for name in scrape(Counters(), tracker))


def test_the_datagrams_of_a_connection_are_counted_both_ways() -> None:
    class Counted:
        def statistics(self) -> Statistics:
            udp = UdpCounts(sent=9, send_calls=3, received=7, receive_calls=2)
            return Statistics(engine="qh3", udp=udp)

    found = scrape(Counters(), connections={1: Counted()})
    assert found['pyconnector_udp_datagrams{conn_index="1",direction="out"}'] == "9"
    assert found['pyconnector_udp_datagrams{conn_index="1",direction="in"}'] == "7"
    assert found['pyconnector_udp_calls{conn_index="1",direction="out"}'] == "3"
    assert found['pyconnector_udp_calls{conn_index="1",direction="in"}'] == "2"
