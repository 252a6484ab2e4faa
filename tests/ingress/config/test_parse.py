"""What a config means: inheritance, tolerance like the reference's, and never another error than IngressError."""

import datetime
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyconnector.ingress import (
    AccessSettings,
    Ingress,
    IngressError,
    NoIngressRules,
    OriginSettings,
    RuleProblem,
    parse_ingress,
    parse_warp_routing,
)
from pyconnector.ingress.config.errors import MAX_PROBLEMS, MAX_QUOTED
from pyconnector.ingress.config.keys.origin_keys import ORIGIN_REQUEST
from pyconnector.ingress.config.keys.rule_keys import RULE
from pyconnector.ingress.config.parse import MAX_RULES

T = TypeVar("T")
ACCESS = {"required": True, "teamName": "example", "audTag": ["abc"]}


def parse(rules: Any, **top: Any) -> Ingress:
    return parse_ingress({"ingress": rules, **top})


def settings_of(value: dict[str, Any], **top: Any) -> OriginSettings:
    return parse([{"service": "http://localhost:8080", "originRequest": value}], **top).rules[0].settings


def problems(rules: Any, **top: Any) -> list[str]:
    with pytest.raises(IngressError) as caught:
        parse(rules, **top)
    return [str(problem) for problem in caught.value.problems]


def test_every_key_sets_its_field() -> None:
    given = {
        "connectTimeout": "1s",
        "tlsTimeout": "2s",
        "tcpKeepAlive": "-3s",
        "noHappyEyeballs": True,
        "keepAliveConnections": 4,
        "keepAliveTimeout": "5s",
        "httpHostHeader": "h.example.com",
        "originServerName": "s.example.com",
        "matchSNItoHost": True,
        "caPool": "/ca.pem",
        "noTLSVerify": True,
        "disableChunkedEncoding": True,
        "bastionMode": False,
        "proxyAddress": "0.0.0.0",
        "proxyPort": 1080,
        "proxyType": "socks",
        "http2Origin": True,
        "access": ACCESS,
    }
    assert settings_of(given) == OriginSettings(
        connect_timeout=1.0,
        tls_timeout=2.0,
        tcp_keepalive=-3.0,
        no_happy_eyeballs=True,
        keepalive_connections=4,
        keepalive_timeout=5.0,
        http_host_header="h.example.com",
        origin_server_name="s.example.com",
        match_sni_to_host=True,
        ca_pool="/ca.pem",
        no_tls_verify=True,
        disable_chunked_encoding=True,
        proxy_address="0.0.0.0",
        proxy_port=1080,
        proxy_type="socks",
        http2_origin=True,
        access=AccessSettings(required=True, team_name="example", aud_tag=("abc",)),
    )


def test_rule_wins_over_top_level_wins_over_default() -> None:
    top = {"connectTimeout": "5s", "noTLSVerify": True, "httpHostHeader": "top"}
    rules = parse(
        [
            {"hostname": "a", "service": "http://x", "originRequest": {"noTLSVerify": False, "httpHostHeader": ""}},
            {"service": "http://x"},
        ],
        originRequest=top,
    ).rules
    assert rules[0].settings == OriginSettings(connect_timeout=5.0)
    assert rules[1].settings == OriginSettings(connect_timeout=5.0, no_tls_verify=True, http_host_header="top")


def test_top_level_access_applies_to_every_rule_that_has_none_of_its_own() -> None:
    own = {"required": True, "teamName": "other", "audTag": ["def"], "environment": "fed"}
    rules = parse(
        [
            {"hostname": "a", "service": "http://x"},
            {"hostname": "b", "service": "http://x", "originRequest": {"access": own}},
            {"hostname": "c", "service": "http://x", "originRequest": {"access": {"required": False}}},
            {"service": "ssh://x"},
        ],
        originRequest={"access": ACCESS},
    ).rules
    top = AccessSettings(required=True, team_name="example", aud_tag=("abc",))
    assert [rule.settings.access for rule in rules] == [
        top,
        AccessSettings(required=True, team_name="other", aud_tag=("def",), environment="fed"),
        AccessSettings(required=False),
        top,
    ]


def test_top_level_ip_rules_apply_to_every_rule_that_has_none_of_its_own() -> None:
    rules = parse(
        [
            {"hostname": "a", "service": "socks-proxy"},
            {"service": "bastion", "originRequest": {"ipRules": [{"prefix": "::/0"}]}},
        ],
        originRequest={"ipRules": [{"prefix": "10.0.0.0/8", "ports": [443, 80], "allow": True}]},
    ).rules
    assert [(str(rule.settings.ip_rules[0].prefix), rule.settings.ip_rules[0].ports) for rule in rules] == [
        ("10.0.0.0/8", (80, 443)),
        ("::/0", ()),
    ]


def test_access_that_is_off_may_hold_what_it_wants_to_keep() -> None:
    assert settings_of({"access": {"required": False, "audTag": ["a"]}}).access == AccessSettings(aud_tag=("a",))


@pytest.mark.parametrize(
    "access", [{}, [], "yes", True, {"required": None}, {"required": True, "audTag": [""], "teamName": "t"}]
)
def test_access_that_says_nothing_never_passes(access: Any) -> None:
    assert any(
        "originRequest.access" in problem
        for problem in problems([{"service": "http://x"}], originRequest={"access": access})
    )


@pytest.mark.parametrize(
    ("where", "key", "value"),
    [
        ("rule", "acces", ACCESS),
        ("rule", "Access", ACCESS),
        ("rule", "iprules", []),
        ("entry", "access", ACCESS),
        ("entry", "orginRequest", {"noTLSVerify": True}),
        ("entry", "settings", {"access": ACCESS}),
        ("inside", "audTags", ["x"]),
    ],
)
def test_a_slip_in_a_security_setting_never_passes_even_where_unknown_keys_are_allowed(
    where: str, key: str, value: Any
) -> None:
    rule: dict[str, Any] = {"service": "http://x", "originRequest": {"access": dict(ACCESS)}}
    place = {"rule": rule["originRequest"], "entry": rule, "inside": rule["originRequest"]["access"]}[where]
    place[key] = value
    with pytest.raises(IngressError) as caught:
        parse_ingress({"ingress": [rule]}, allow_unknown_keys=True)
    assert key in str(caught.value)


def test_other_unknown_keys_can_be_allowed() -> None:
    config = {"ingress": [{"service": "http://x", "colour": "red", "originRequest": {"noTlsVerify": True}}]}
    ingress = parse_ingress(config, allow_unknown_keys=True)
    assert [str(problem) for problem in ingress.warnings] == [
        'ingress[0].colour: unknown key "colour"',
        'ingress[0].originRequest.noTlsVerify: unknown key "noTlsVerify"; did you mean noTLSVerify?',
    ]
    assert not ingress.rules[0].settings.no_tls_verify


def test_values_that_yaml_makes_of_plain_words_are_taken_like_the_reference_takes_them() -> None:
    assert settings_of(
        {"noTLSVerify": "yes", "http2Origin": "Off", "keepAliveConnections": 7.0, "httpHostHeader": 5}
    ) == (OriginSettings(no_tls_verify=True, keepalive_connections=7, http_host_header="5"))
    assert (
        parse(
            [
                {"hostname": 5, "service": "http://x"},
                {"hostname": None, "path": None, "service": "http://x", "originRequest": None},
            ]
        )
        .rules[0]
        .hostname
        == "5"
    )


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (True, "the truth value true; put it in quotes"),
        (1.5, "the number 1.5; put it in quotes"),
        (1 << 200, "a huge number"),
        ([], "a list"),
        ({}, "a mapping"),
        (b"x", "binary data"),
        (datetime.date(2024, 1, 1), "a date"),
        (datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC), "a date"),
        ({1, 2}, "a value of type set"),
    ],
)
def test_a_text_of_the_wrong_type_is_told_what_was_found(value: Any, found: str) -> None:
    assert problems([{"service": "http://x"}], originRequest={"caPool": value}) == [
        f"originRequest.caPool: expected the path of a PEM file, found {found}"
    ]


def test_control_characters_are_refused_without_being_shown() -> None:
    (problem,) = problems([{"service": "http://x"}], originRequest={"httpHostHeader": "a\r\nX: secret"})
    assert problem == "originRequest.httpHostHeader: the text holds a control character, such as a line break"


def test_no_rules_are_told_apart_from_bad_rules() -> None:
    settings = {"noTLSVerify": True}
    configs: list[dict[str, Any]] = [{}, {"ingress": None}, {"ingress": []}, {"tunnel": "x", "originRequest": settings}]
    for config in configs:
        with pytest.raises(NoIngressRules):
            parse_ingress(config)
    with pytest.raises(IngressError) as caught:
        parse_ingress({"ingress": [], "originRequest": {"x": 1}})
    assert not isinstance(caught.value, NoIngressRules)
    assert len(caught.value.problems) == 2


def test_useless_things_are_warnings() -> None:
    rules = [
        {"hostname": "a.com", "service": "http://u@localhost", "originRequest": {"ipRules": [{"prefix": "::/0"}]}},
        {"hostname": "a.com", "path": "/x", "service": "foo://localhost", "originRequest": {"proxyType": "sock"}},
        {"service": "http_status:404"},
    ]
    ingress = parse(rules, originRequest={"proxyPort": 1, "ipRules": [{"prefix": "::/0"}]})
    assert [str(problem) for problem in ingress.warnings] == [
        "originRequest.proxyPort: proxyPort has no effect: nothing listens there, in the reference neither",
        "ingress[0].service: the user part of the address is ignored",
        "ingress[0].originRequest.ipRules: ipRules apply to the services socks-proxy and bastion only",
        "ingress[1].originRequest.proxyType: only socks has an effect here; did you mean socks?",
        "ingress[1].service: the scheme foo:// has no port of its own, so no connection can be made",
        "ingress[1]: rule #2 is never reached: rule #1 takes all its requests",
        "originRequest.ipRules: no rule has a service that ipRules apply to (socks-proxy or bastion)",
    ]
    assert all(problem.warning for problem in ingress.warnings)


def test_keys_of_older_releases_are_warnings() -> None:
    routing = parse_warp_routing({"warp-routing": {"enabled": True, "maxActiveFlows": 3}})
    assert routing.max_active_flows == 3
    assert [str(problem) for problem in routing.warnings] == [
        "warp-routing.enabled: enabled is no longer known: private traffic is carried whenever the tunnel has "
        "private routes; remove those to block it"
    ]


def test_warp_routing_defaults_and_values() -> None:
    assert parse_warp_routing({}) == parse_warp_routing({"warp-routing": None})
    routing = parse_warp_routing({"warp-routing": {"connectTimeout": "1s", "tcpKeepAlive": "2s"}})
    assert (routing.connect_timeout, routing.tcp_keepalive, routing.max_active_flows) == (1.0, 2.0, 0)
    with pytest.raises(IngressError, match="expected a mapping of settings, found a list"):
        parse_warp_routing({"warp-routing": []})


def test_problems_know_their_path_for_the_line_in_the_file() -> None:
    with pytest.raises(IngressError) as caught:
        parse([{"service": "http://x", "originRequest": {"access": {"required": 1}}}])
    assert caught.value.problems == (
        RuleProblem(
            ("ingress", 0, "originRequest", "access", "required"), "expected true or false, found the number 1"
        ),
    )


def test_what_a_config_can_make_this_hold_is_bounded() -> None:
    many = [{"service": ""} for _ in range(MAX_PROBLEMS + 50)]
    assert len(problems(many)) == MAX_PROBLEMS
    assert problems([{}] * (MAX_RULES + 1)) == ["ingress: there are too many rules (10001)"]
    (problem,) = problems([{"service": "http://x", "k" * 10_000: 1}])
    assert len(problem) < 3 * MAX_QUOTED
    assert "at most 1024" in problems([{"service": "http://x"}], originRequest={"ipRules": [{}] * 1025})[0]


KEYS = sorted(
    {key.name for table in (RULE, ORIGIN_REQUEST) for key in table.keys}
    | {
        "set",
        "add",
        "remove",
        "match",
        "replace",
        "prefix",
        "required",
        "audTag",
        "teamName",
        "body",
        "file",
        "path",
        "x",
    }
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-5, 70000)
    | st.floats(allow_nan=True)
    | st.text(max_size=12)
    | st.binary(max_size=4)
    | st.dates()
    | st.sampled_from(
        [
            "http://localhost:1",
            "tcp://x",
            "http_status:404",
            "10.0.0.0/8",
            "30s",
            "^/(.*)$",
            "/a$1?b=$1",
            "socks-proxy",
            "v1",
            "*.a.com",
        ]
    )
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5) | st.integers() | st.none(), inner, max_size=5)
    ),
    max_leaves=25,
)
RULES = st.lists(
    st.dictionaries(st.sampled_from(["hostname", "path", "service", "originRequest"]), VALUES) | VALUES, max_size=4
)
SETTINGS = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6)


@settings(max_examples=300, deadline=None)
@given(RULES | VALUES, SETTINGS | VALUES, VALUES, st.booleans())
def test_nothing_but_ingress_error_comes_out_of_any_value(rules: Any, defaults: Any, routing: Any, allow: bool) -> None:
    config = {"ingress": rules, "originRequest": defaults, "warp-routing": routing}
    ingress, found = attempt(lambda: parse_ingress(config, allow_unknown_keys=allow))
    if ingress is None:
        assert any(not problem.warning for problem in found)
        assert all(problem.message and str(problem) for problem in found)
    else:
        assert ingress.match("a.com", "/").index < len(ingress.rules)
    attempt(lambda: parse_warp_routing(config, allow_unknown_keys=allow))


def attempt(parse: Callable[[], T]) -> tuple[T | None, tuple[RuleProblem, ...]]:
    try:
        return parse(), ()
    except IngressError as error:
        return None, error.problems


@settings(max_examples=50, deadline=None)
@given(VALUES)
def test_nothing_but_ingress_error_comes_out_of_any_config(config: Any) -> None:
    with pytest.raises(IngressError):
        parse_ingress(config)


def test_a_value_that_holds_itself_is_no_trap() -> None:
    loop: list[Any] = []
    loop.append(loop)
    knot: dict[str, Any] = {}
    knot["originRequest"] = knot
    assert problems([loop, knot], originRequest=knot)


@pytest.mark.parametrize("where", ["rule", "top"])
def test_bastion_mode_stands_in_for_a_service(where: str) -> None:
    mode = {"originRequest": {"bastionMode": True}}
    rule: dict[str, Any] = {"hostname": "jump.example.com", **(mode if where == "rule" else {})}
    config = {"ingress": [rule, {"service": "http_status:404"}], **(mode if where == "top" else {})}
    assert str(parse_ingress(config).rules[0].service) == "bastion"
    with pytest.raises(IngressError, match="the rule has no service"):
        parse_ingress({"ingress": [{"originRequest": {"bastionMode": False}}]})
