import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyconnector.ingress import (
    IngressError,
    NoIngressRules,
    OriginSettings,
    WarpRouting,
    parse_ingress,
    parse_remote_configuration,
    parse_remote_ingress,
)
from pyconnector.ingress.config.parse import MAX_REMOTE_RULES
from pyconnector.ingress.config.remote import MAX_REMOTE_CONFIGURATION, decode_json
from pyconnector.ingress.config.settings import AccessSettings
from pyconnector.ingress.rules.path_patterns import MAX_REMOTE_PATTERN


def push(config: Any) -> OriginSettings:
    return parse_remote_configuration(json.dumps(config).encode()).ingress.rules[0].settings


def refused(config: Any) -> str:
    with pytest.raises(IngressError) as caught:
        parse_remote_configuration(config if isinstance(config, bytes) else json.dumps(config).encode())
    return str(caught.value)


def test_seconds_are_whole_numbers_and_keys_come_in_any_case() -> None:
    configuration = parse_remote_configuration(
        b'{"ORIGINREQUEST": {"ConnectTimeout": 5, "tlstimeout": 7, "tcpKeepAlive": -1},'
        b' "Ingress": [{"HostName": "a.com", "SERVICE": "http://localhost:1", "originrequest": {"CONNECTTIMEOUT": 9}},'
        b' {"service": "http_status:404"}],'
        b' "Warp-Routing": {"MAXACTIVEFLOWS": 3, "connectTimeout": 2, "tcpKeepAlive": 4}}'
    )
    first, last = configuration.ingress.rules
    assert (first.hostname, str(first.service)) == ("a.com", "http://localhost:1")
    assert first.settings == OriginSettings(connect_timeout=9.0, tls_timeout=7.0, tcp_keepalive=-1.0)
    assert last.settings.connect_timeout == 5.0
    assert configuration.warp_routing == WarpRouting(connect_timeout=2.0, tcp_keepalive=4.0, max_active_flows=3)


@pytest.mark.parametrize("value", ["10s", 2.5, 5.0, True, "5", [], 10**30])
def test_other_durations_are_refused(value: Any) -> None:
    assert "expected a whole number of seconds" in refused(
        {"ingress": [{"service": "http_status:404"}], "originRequest": {"connectTimeout": value}}
    )
    assert "expected a whole number of seconds" in refused({"warp-routing": {"connectTimeout": value}})


@pytest.mark.parametrize(
    ("key", "value"),
    [("noTLSVerify", "yes"), ("keepAliveConnections", 1.0), ("caPool", 5), ("proxyPort", -1), ("access", [])],
)
def test_json_types_are_strict(key: str, value: Any) -> None:
    assert f"originRequest.{key}" in refused(
        {"ingress": [{"service": "http_status:404"}], "originRequest": {key: value}}
    )


def test_what_is_unknown_or_null_is_ignored() -> None:
    assert (
        push(
            {
                "ingress": [{"service": "http_status:404", "x": 1, "path": None, "originRequest": None}],
                "originRequest": {"noTlsVerifyy": 1, "access": None, "ipRules": None},
                "z": [],
            }
        )
        == OriginSettings()
    )


def test_what_only_the_owner_of_the_machine_may_set_is_ignored_with_a_warning() -> None:
    ingress = parse_remote_ingress(
        {"ingress": [{"service": "http://localhost:1", "originRequest": {"errorPage": {"file": "/etc/passwd"}}}]}
    )
    assert ingress.rules[0].settings == OriginSettings()
    assert [str(problem) for problem in ingress.warnings] == [
        "ingress[0].originRequest.errorPage: errorPage is read from the local config only and is ignored here"
    ]


def test_without_rules_everything_is_503() -> None:
    configs: list[dict[str, Any]] = [{}, {"ingress": []}, {"ingress": None}]
    for config in configs:
        ingress = parse_remote_ingress(config)
        assert ingress.is_default
        assert str(ingress.rules[0].service) == "http_status:503"
        with pytest.raises(NoIngressRules):
            parse_remote_ingress(config, default_if_empty=False)


def test_access_of_a_dashboard_is_taken_and_an_unfinished_demand_lets_nobody_in() -> None:
    off = {"required": False, "teamName": "", "audTag": []}
    assert (
        push({"ingress": [{"service": "http://x", "originRequest": {"access": off, "ipRules": []}}]}).access
        == AccessSettings()
    )
    assert push(
        {"ingress": [{"service": "http://x", "originRequest": {"access": {"required": True}}}]}
    ).access == AccessSettings(required=True)
    assert "access.teamName" in refused(
        {"ingress": [{"service": "http://x", "originRequest": {"access": {"required": True, "audTag": ["a"]}}}]}
    )
    assert "teamName" in refused(
        {
            "ingress": [
                {
                    "service": "http://x",
                    "originRequest": {"access": {"required": True, "audTag": ["a"], "teamName": "evil.example/"}},
                }
            ]
        }
    )


def test_an_empty_list_of_ip_rules_does_not_take_those_of_the_top_level_away() -> None:
    rules = [{"service": "bastion", "originRequest": {"ipRules": []}}]
    assert len(push({"ingress": rules, "originRequest": {"ipRules": [{"prefix": "10.0.0.0/8"}]}}).ip_rules) == 1


def test_a_configuration_that_is_no_mapping_is_refused() -> None:
    with pytest.raises(IngressError, match="expected a mapping"):
        parse_remote_ingress([])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not valid JSON"),
        (b"[]", "expected a JSON object, found a list"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "not valid JSON"),
        (b" " * (MAX_REMOTE_CONFIGURATION + 1), "larger than"),
    ],
)
def test_bytes_that_are_no_configuration(data: bytes, words: str) -> None:
    assert words in refused(data)


def test_what_the_edge_can_make_this_hold_is_bounded() -> None:
    long = {"ingress": [{"path": "a" * (MAX_REMOTE_PATTERN + 1), "service": "http://x"}, {"service": "http://x"}]}
    assert "longer than 2048 characters" in refused(long)
    assert "too many rules" in refused({"ingress": [{"service": "http://x"}] * (MAX_REMOTE_RULES + 1)})


@given(
    st.binary(max_size=60)
    | st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["ingress", "service", "originRequest", "access", "warp-routing", "x"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    ).map(lambda value: json.dumps(value).encode())
)
def test_nothing_but_ingress_error_comes_out_of_any_bytes(data: bytes) -> None:
    try:
        configuration = parse_remote_configuration(data)
    except IngressError:
        return
    assert configuration.ingress.match("", "/").index >= 0
    assert isinstance(decode_json(data), dict)


def test_a_pushed_configuration_shows_nobody_this_machine_s_files() -> None:
    assert "files: is for the local config alone" in refused({"ingress": [{"service": "files:/etc"}]})
    further = [{"service": "http://x", "originRequest": {"backends": ["files:/etc"]}}]
    with pytest.raises(IngressError, match="must be the address of one"):
        parse_ingress({"ingress": further})
