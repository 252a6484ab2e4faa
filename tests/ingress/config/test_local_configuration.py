import json

from pyconnector.ingress import default_ingress, local_configuration, parse_ingress, parse_remote_configuration
from pyconnector.ingress.config.local_configuration import all_settings
from pyconnector.ingress.config.warp_routing import WarpRouting


def test_the_measured_example() -> None:
    ingress = parse_ingress(
        {"ingress": [{"hostname": "a.example.com", "service": "http://127.0.0.1:1"}, {"service": "http_status:418"}]}
    )
    value = local_configuration(ingress, WarpRouting(max_active_flows=1), {"protocol": "quic"})
    assert json.dumps(value, separators=(",", ":")) == (
        '{"__configuration_flags":{"protocol":"quic"},"ingress":[{"hostname":"a.example.com",'
        '"service":"http://127.0.0.1:1","originRequest":{}},{"service":"http_status:418","originRequest":{}}],'
        '"warp-routing":{"maxActiveFlows":1}}'
    )


def test_only_what_differs_from_the_defaults_is_sent() -> None:
    ingress = parse_ingress(
        {
            "originRequest": {"connectTimeout": "1m30s", "tlsTimeout": "10s", "keepAliveTimeout": "500ms"},
            "ingress": [
                {
                    "path": "^/x",
                    "service": "socks-proxy",
                    "originRequest": {
                        "ipRules": [{"prefix": "10.1.2.3/8", "ports": [443, 80], "allow": True}, {"prefix": "::/0"}],
                        "access": {"required": True, "teamName": "t", "audTag": ["a"], "environment": "fed"},
                        "connectTimeout": "30s",
                    },
                },
                {"hostname": "b", "service": "bastion", "originRequest": {"access": {"required": False}}},
                {"service": "tcp://localhost"},
            ],
        }
    )
    value = local_configuration(ingress, WarpRouting(connect_timeout=2.5, tcp_keepalive=30.0))
    assert value == {
        "ingress": [
            {
                "path": "^/x",
                "service": "socks-proxy",
                "originRequest": {
                    "keepAliveTimeout": 0.5,
                    "ipRules": [
                        {"prefix": "10.0.0.0/8", "ports": [80, 443], "allow": True},
                        {"prefix": "::/0", "ports": None, "allow": False},
                    ],
                    "access": {"required": True, "teamName": "t", "audTag": ["a"], "environment": "fed"},
                },
            },
            {
                "hostname": "b",
                "service": "bastion",
                "originRequest": {"connectTimeout": 90, "keepAliveTimeout": 0.5, "bastionMode": True},
            },
            {"service": "tcp://localhost:7864", "originRequest": {"connectTimeout": 90, "keepAliveTimeout": 0.5}},
        ],
        "warp-routing": {"connectTimeout": 2.5},
    }


def test_what_the_reference_does_not_have_stays_here() -> None:
    extra = {"requestHeaders": {"set": {"Authorization": "secret"}}, "stripPathPrefix": "/x", "retryFor": "5s"}
    ingress = parse_ingress({"ingress": [{"service": "http://localhost:1", "originRequest": extra}]})
    assert local_configuration(ingress, WarpRouting())["ingress"][0]["originRequest"] == {}
    assert "secret" not in repr(ingress)


def test_the_edge_reads_back_what_it_was_sent() -> None:
    ingress = parse_ingress(
        {
            "originRequest": {"connectTimeout": "7s", "noTLSVerify": True, "proxyType": "socks"},
            "ingress": [{"hostname": "*.a.com", "path": "^/x", "service": "ws://localhost:1"}, {"service": "bastion"}],
        }
    )
    sent = json.dumps(local_configuration(ingress, WarpRouting(max_active_flows=9))).encode()
    configuration = parse_remote_configuration(sent)
    assert configuration.ingress == ingress
    assert configuration.warp_routing == WarpRouting(max_active_flows=9)


def test_the_default_rule_is_sent_like_any_other() -> None:
    assert local_configuration(default_ingress(), WarpRouting()) == {
        "ingress": [{"service": "http_status:503", "originRequest": {}}],
        "warp-routing": {},
    }


def test_all_settings_shows_every_key_of_the_reference() -> None:
    shown = all_settings(default_ingress().rules[0].settings)
    assert len(shown) == 19
    assert shown["connectTimeout"] == 30
    assert shown["access"] is None
    assert "requestHeaders" not in shown
