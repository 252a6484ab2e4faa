from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pyconnector.connector.api.errors import ConfigError
from pyconnector.connector.config import ConnectorConfig, check_config, find_config, load_config
from pyconnector.connector.config.flag_values import from_environment
from pyconnector.connector.config.flags import FLAGS, ONE_ORIGIN_FLAGS, REQUEST_FLAGS, Kind
from pyconnector.ingress.config.services import BastionService, HelloService, HttpService, UnixService
from tests.connector.configs import RULES, TUNNEL_ID, load, problems, write_config, write_credentials
from tests.support.houses.house import credentials


def test_a_config_as_written_for_the_reference_is_read_whole(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        f"""\
tunnel: {TUNNEL_ID}
loglevel: debug
metrics: 127.0.0.1:2000
protocol: quic
no-autoupdate: true
metrics-update-freq: 5s
grace-period: 10s
retries: 7
edge: [one.example:7844, "192.0.2.1:7844"]
tag: [ROOM=attic]
warp-routing:
  maxActiveFlows: 5
originRequest:
  connectTimeout: 3s
ingress:
  - hostname: a.example.com
    service: http://localhost:8000
  - service: http_status:404
""",
    )
    assert config.credentials.tunnel_id == TUNNEL_ID
    assert config.log.level == "debug"
    assert config.metrics == "127.0.0.1:2000"
    assert config.lifecycle.grace_period == 10.0
    assert config.lifecycle.retries == 7
    assert config.edge.addresses == ("one.example:7844", "192.0.2.1:7844")
    assert config.tags == (("ROOM", "attic"),)
    assert config.warp_routing.max_active_flows == 5
    assert [rule.settings.connect_timeout for rule in config.ingress.rules] == [3.0, 3.0]
    assert dict(config.configuration_flags) == {
        "no-autoupdate": "true", "retries": "7", "protocol": "quic", "loglevel": "debug", "metrics": "127.0.0.1:2000",
        "metrics-update-freq": "5s",
    }  # fmt: skip
    # Nothing updates itself, which is what `no-autoupdate` asks for.
    assert any("no effect in this connector: metrics-update-freq" in warning.message for warning in config.warnings)


def test_defaults_are_those_of_the_reference(tmp_path: Path) -> None:
    config = load(tmp_path)
    assert (config.lifecycle.ha_connections, config.lifecycle.retries, config.lifecycle.grace_period) == (4, 5, 30.0)
    assert config.edge.addresses == ()
    assert config.edge.quic.connection_window == 30 * 1024 * 1024
    assert config.edge.quic.stream_window == 6 * 1024 * 1024
    assert config.metrics is None


def test_a_config_is_frozen_and_hides_the_secret(tmp_path: Path) -> None:
    config = load(tmp_path)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.label = "x"  # type: ignore[misc]
    assert "0123456789abcdef" not in repr(config)
    assert isinstance(config, ConnectorConfig)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("loglevel: 4\n", "config.yml:2:11: loglevel: expected text, found the number 4; write it in quotes"),
        ("edge-ip-version: 4\n",
         "config.yml:2:18: edge-ip-version: expected text, found the number 4; write it in quotes"),
        ("retries: many\n", 'config.yml:2:10: retries: expected a whole number, found the text "many"'),
        ("retries: true\n", "config.yml:2:10: retries: expected a whole number, found the truth value true"),
        ("no-autoupdate: maybe\n", 'config.yml:2:16: no-autoupdate: expected true or false, found the text "maybe"'),
        ("edge: a:1\n", 'config.yml:2:7: edge: expected a list of texts, found the text "a:1"'),
        ("edge: [a:1, 5]\n", "config.yml:2:13: edge[1]: expected text, found the number 5"),
        ("edge: ['a:1', 'b:x']\n", 'config.yml:2:15: edge[1]: "b:x" has no port between 1 and 65535'),
        (
            "grace-period: 30\n",
            'config.yml:2:15: grace-period: expected a duration such as "30s", found the number 30; '
            'write it with a unit, such as "30s"',
        ),
        ("write-stream-timeout: -1s\n", "config.yml:2:23: write-stream-timeout: must not be shorter than 0s"),
        ("grace-period: 4m\n", "config.yml:2:15: grace-period: must be between 0s and 3m"),
        ("ha-connections: 0\n", "config.yml:2:17: ha-connections: must be between 1 and 256"),
        ("loglevel: loud\n", 'config.yml:2:11: loglevel: "loud" is no log level (debug, info, warn, error, fatal)'),
        ("protocol: tcp\n", 'config.yml:2:11: protocol: "tcp" is not one of auto, quic, http2, h2mux'),
        ("tag: [nonsense]\n", 'config.yml:2:7: tag[0]: "nonsense" is no tag; write NAME=VALUE in printable ASCII'),
        ("edge-bind-address: nowhere\n", 'config.yml:2:20: edge-bind-address: "nowhere" is no IP address'),
        ("cacert: /does/not/exist\n", "config.yml:2:9: cacert: the file /does/not/exist does not exist"),
        ("credential-file: x\n", "config.yml:2:1: credential-file: unknown key; did you mean credentials-file?"),
        ("Ingress: []\n", "config.yml:2:1: Ingress: unknown key; did you mean ingress?"),
        ("max-active-flows: 3\n",
         "config.yml:2:1: max-active-flows: this can only be given on the command line, as --max-active-flows"),
        ("warp-routing:\n  maxActiveFlow: 1\n",
         'config.yml:3:3: warp-routing.maxActiveFlow: unknown key "maxActiveFlow"; did you mean maxActiveFlows?'),
        ("tunnel: 5\n",
         "config.yml:2:9: tunnel: expected the tunnel's UUID or name, found the number 5; write it in quotes"),
        ("tunnel: [a]\n", "config.yml:2:1: tunnel: expected the tunnel's UUID or name, found a list"),
        ("tunnel: {a: b}\n", "config.yml:2:1: tunnel: expected the tunnel's UUID or name, found a mapping"),
        ("loglevel: warning\n",
         'config.yml:2:11: loglevel: "warning" is no log level (debug, info, warn, error, fatal); did you mean warn?'),
        ("loglevel: Inf\n",
         'config.yml:2:11: loglevel: "inf" is no log level (debug, info, warn, error, fatal); did you mean info?'),
        ("protocol: Quick\n",
         'config.yml:2:11: protocol: "Quick" is not one of auto, quic, http2, h2mux; did you mean quic?'),
    ],
)  # fmt: skip
def test_a_problem_has_its_place_and_a_sentence(tmp_path: Path, text: str, expected: str) -> None:
    assert problems(tmp_path, text + RULES) == [expected]


def test_a_file_of_authorities_that_holds_none_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate\n")
    found = problems(tmp_path, f"cacert: {tmp_path}/ca.pem\n{RULES}")
    assert found == ["config.yml:2:9: cacert: there is no certificate in ca.pem"]


def test_problems_of_rules_have_their_place(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        """\
ingress:
  - hostname: a.example.com
    service: http://localhost:8080/path
    originRequest:
      noTLSverify: true
      connectTimeout: 30
  - service: http_status:404
""",
    )
    assert [line.split(": ")[0] for line in found] == ["config.yml:4:14", "config.yml:6:7", "config.yml:7:23"]
    assert any("noTLSVerify" in line for line in found)


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    assert len(problems(tmp_path, "loglevel: 4\nretries: x\nnonsense: 1\ningress:\n  - service: nope\n")) == 4


def test_an_allowed_unknown_key_is_a_warning_but_not_where_it_may_hide_access(tmp_path: Path) -> None:
    assert problems(tmp_path, "nonsense: 1\n" + RULES, allow_unknown_keys=True) == []
    assert len(problems(tmp_path, "origin-request: {}\n" + RULES, allow_unknown_keys=True)) == 1
    text = "ingress:\n  - service: http://localhost:1\n    originRequest:\n      acces:\n        required: true\n"
    assert len(problems(tmp_path, text, allow_unknown_keys=True)) == 1


def test_a_key_of_an_older_release_is_a_warning(tmp_path: Path) -> None:
    config = load(tmp_path, "logDirectory: /tmp\nwarp-routing:\n  enabled: true\n" + RULES)
    assert [warning.path for warning in config.warnings] == [("logDirectory",), ("warp-routing", "enabled")]


def test_the_command_line_beats_the_file_and_its_problems_say_so(tmp_path: Path) -> None:
    config = load(tmp_path, "retries: 7\nedge: ['a:1']\n" + RULES, retries="2", edge=("b:2", "c:3"))
    assert config.lifecycle.retries == 2
    assert config.edge.addresses == ("b:2", "c:3")
    assert problems(tmp_path, RULES, retries="x") == [
        '--retries expects a whole number, not "x" (these are not digits)'
    ]
    assert problems(tmp_path, RULES, grace_period="1 year")[0].startswith("--grace-period expects a duration")
    assert problems(tmp_path, RULES, ha_connections="999") == ["--ha-connections: must be between 1 and 256"]


def test_the_environment_gives_flags_and_an_empty_variable_blocks_the_file(tmp_path: Path) -> None:
    found = from_environment({"TUNNEL_EDGE": "a:1,b:2", "TUNNEL_RETRIES": "3", "TUNNEL_LOGLEVEL": "", "OTHER": "x"})
    assert found == {"edge": "a:1,b:2", "retries": "3", "loglevel": ""}
    config = load_config(str(write_config(tmp_path, "loglevel: debug\n" + RULES)), found)
    assert config.edge.addresses == ("a:1", "b:2")
    assert config.log.level == "info"


def test_a_secret_on_the_command_line_is_never_quoted(tmp_path: Path) -> None:
    assert "sesame" not in "".join(problems(tmp_path, RULES, token="sesame"))
    assert "sesame" not in "".join(problems(tmp_path, "token: [sesame]\n" + RULES))


@pytest.mark.parametrize(
    ("overrides", "service"),
    [
        ({"url": "localhost:9000"}, HttpService),
        ({"url": "https://localhost:9000/some/path"}, HttpService),
        ({"unix-socket": "/run/app.sock"}, UnixService),
        ({"hello-world": True}, HelloService),
        ({"bastion": True, "url": "http://x"}, BastionService),
    ],
)
def test_one_origin_can_come_from_flags(tmp_path: Path, overrides: dict[str, object], service: type) -> None:
    config = load_config(str(write_config(tmp_path, "")), {**overrides, "proxy-connect-timeout": "7s"})
    assert len(config.ingress.rules) == 1
    assert isinstance(config.ingress.rules[0].service, service)
    assert config.ingress.rules[0].settings.connect_timeout == 7.0


def test_one_origin_from_flags_keeps_the_access_settings_of_the_file(tmp_path: Path) -> None:
    config = load(
        tmp_path, "originRequest:\n  access: {required: true, teamName: t, audTag: [x]}\n", url="http://localhost:1"
    )
    access = config.ingress.rules[0].settings.access
    assert access is not None
    assert access.required


def test_rules_beat_the_flags_of_one_origin(tmp_path: Path) -> None:
    assert str(load(tmp_path, RULES, url="http://localhost:1").ingress.rules[0].service) == "http_status:404"


def test_flags_of_one_origin_that_exclude_each_other_are_a_problem(tmp_path: Path) -> None:
    found = problems(tmp_path, "x", url="http://a", unix_socket="/b") or problems(
        tmp_path, "", url="http://a", unix_socket="/b"
    )
    assert found


def test_no_rules_at_all_answer_503_with_a_warning(tmp_path: Path) -> None:
    config = load(tmp_path, "")
    assert config.ingress.is_default
    assert any("503" in warning.message for warning in config.warnings)


def test_checking_a_config_needs_no_credentials_but_wants_rules(tmp_path: Path) -> None:
    rules, problems = check_config(str(write_config(tmp_path, RULES, credentials=False)))
    assert rules is not None
    assert problems == []
    rules, problems = check_config(str(write_config(tmp_path, "loglevel: info\n", credentials=False)))
    assert rules is None
    assert "no ingress rules" in problems[-1].message


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such config file"):
        load_config(str(tmp_path / "none.yml"))


def test_the_first_config_file_of_the_usual_places_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "pyconnector.connector.config.credentials.DEFAULT_DIRECTORIES", (str(tmp_path / "one"), str(tmp_path / "two"))
    )
    assert find_config() is None
    for name in ("two/config.yaml", "two/config.yml", "one/config.yaml"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(RULES)
        assert find_config() == str(path)


def test_a_zero_in_the_file_counts(tmp_path: Path) -> None:
    assert load(tmp_path, "write-stream-timeout: 5s\n" + RULES).lifecycle.write_stream_timeout == 5.0
    config = load(tmp_path, "grace-period: 0s\nretries: 0\n" + RULES)
    assert (config.lifecycle.grace_period, config.lifecycle.retries) == (0.0, 0)


def test_pushed_configurations_can_be_refused_or_kept_from_local_access(tmp_path: Path) -> None:
    access = "originRequest: {access: {required: true, teamName: example, audTag: [a]}}\n"
    config = load(tmp_path, f"no-remote-config: true\nkeep-local-access: true\n{access}{RULES}")
    assert (config.remote.refuse, config.remote.keep_access) == (True, True)
    config = load(tmp_path)
    assert (config.remote.refuse, config.remote.keep_access) == (False, False)


def test_local_access_can_be_kept_only_where_there_is_some(tmp_path: Path) -> None:
    for access in ("", "originRequest: {access: {required: false}}\n"):
        assert problems(tmp_path, f"keep-local-access: true\n{access}{RULES}") == [
            "config.yml:2:20: keep-local-access: no rule of the config requires access, "
            "so nothing would be kept in force"
        ]


@pytest.mark.parametrize(
    ("level", "meant"),
    [("warning", "warn"), ("verbose", "debug"), ("Critical", "fatal"), ("notice", "info"), ("eror", "error")],
)
def test_a_log_level_of_others_is_told_as_ours(tmp_path: Path, level: str, meant: str) -> None:
    (found,) = problems(tmp_path, f"loglevel: {level}\n{RULES}")
    assert found.endswith(f"; did you mean {meant}?")


@pytest.mark.parametrize("level", ["INFO", "Info", "DEBUG", "Warn"])
def test_the_case_of_a_log_level_does_not_matter(tmp_path: Path, level: str) -> None:
    assert load(tmp_path, f"loglevel: {level}\n{RULES}").log.level == level.lower()
    assert load(tmp_path, loglevel=level).log.level == level.lower()


@pytest.mark.parametrize("token", [True, False])
def test_a_tunnel_that_is_no_text_is_an_error_whatever_the_credentials(tmp_path: Path, token: bool) -> None:
    path = write_config(tmp_path, f"tunnel: [a]\n{RULES}", credentials=not token)
    rules, problems = check_config(str(path))
    assert rules is not None
    assert [problem.path for problem in problems if not problem.warning] == [("tunnel",)]


@pytest.mark.parametrize(
    ("text", "protocol"),
    [("", "auto"), ("protocol: auto\n", "auto"), ("protocol: quic\n", "quic"), ("protocol: http2\n", "http2"),
     ("protocol: h2mux\n", "http2"), ("post-quantum: true\n", "quic")],
)  # fmt: skip
def test_the_protocol_is_taken(tmp_path: Path, text: str, protocol: str) -> None:
    config = load_config(str(write_config(tmp_path, text + RULES)))
    assert config.edge.protocol == protocol
    warned = [str(problem) for problem in config.warnings if "h2mux" in str(problem)]
    assert bool(warned) == ("h2mux" in text)


def test_http2_with_post_quantum_alone_is_an_error(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, f"protocol: http2\npost-quantum: true\n{RULES}")
    assert "http2 cannot be held to post-quantum key exchange" in found


ONE_ORIGIN = {name: FLAGS[name] for name in (*ONE_ORIGIN_FLAGS, *REQUEST_FLAGS)}


@pytest.mark.parametrize("name", ONE_ORIGIN)
def test_flags_of_one_origin_beside_rules_are_named(tmp_path: Path, name: str) -> None:
    value = {Kind.BOOL: "true", Kind.INT: "3", Kind.DURATION: "3s"}.get(ONE_ORIGIN[name].kind, "x")
    config = load(tmp_path, f"{name}: {value}\n{RULES}")
    (found,) = config.warnings
    instead = f"; write {REQUEST_FLAGS[name]} under originRequest" if name in REQUEST_FLAGS else ""
    assert str(found).endswith(f":2:1: {name}: {name} has no effect, since the config has ingress rules{instead}")


def test_flags_of_one_origin_given_elsewhere_are_named_too(tmp_path: Path) -> None:
    config = load(tmp_path, url="http://localhost:1")
    assert [str(found) for found in config.warnings] == ["--url: url has no effect, since the config has ingress rules"]


def test_flags_of_one_origin_without_rules_are_not_warned_of(tmp_path: Path) -> None:
    assert load(tmp_path, "url: https://localhost:1\nno-tls-verify: true\n").warnings == ()


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"cacrt": "edge.pem"}, '"cacrt" is no setting; did you mean cacert?'),
        ({"nothing-like-it": 1}, '"nothing-like-it" is no setting'),
        ({"retries": [1]}, "--retries expects a whole number, not a list"),
        ({"loglevel": 4}, "--loglevel expects text, not the number 4"),
        ({"token": 4}, "--token expects text, not a secret"),
        ({"edge": [1]}, "--edge expects a list of texts, not a list"),
        ({"grace-period": True}, '--grace-period expects a duration such as "30s", not the truth value true'),
        ({"quic-stream-level-flow-control-limit": 1}, "--quic-stream-level-flow-control-limit: must be between 65536"),
        ({"quic-connection-level-flow-control-limit": 1}, "connection-level-flow-control-limit: must be between 65536"),
    ],
)
def test_a_program_is_told_of_its_slips(tmp_path: Path, overrides: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError) as found:
        load_config(str(write_config(tmp_path)), overrides)
    assert sentence in str(found.value)
    assert len(found.value.problems) == 1


def test_a_program_may_give_values_of_a_settings_own_type(tmp_path: Path) -> None:
    given = {"edge": ["a:1"], "grace-period": 5, "retries": 2, "logfile": tmp_path / "log", "cacert": None}
    config = load_config(str(write_config(tmp_path)), given)
    assert (config.edge.addresses, config.lifecycle.grace_period, config.lifecycle.retries) == (("a:1",), 5.0, 2)
    assert (config.log.file, config.edge.ca_file) == (str(tmp_path / "log"), None)


def test_the_address_to_connect_from_decides_the_ip_version(tmp_path: Path) -> None:
    assert load(tmp_path, edge_bind_address="127.0.0.1").edge.ip_version == "4"
    config = load(tmp_path, edge_bind_address="::1", edge_ip_version="4")
    assert config.edge.ip_version == "6"
    assert any("IPv6 is used, since edge-bind-address is ::1" in warning.message for warning in config.warnings)


def test_a_region_beside_the_credentials_own_is_an_error(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    write_credentials(tmp_path).unlink()
    write_credentials(tmp_path, Endpoint="fed")
    assert load_config(str(config)).edge.region == "fed"
    assert load_config(str(config), {"region": "fed"}).edge.region == "fed"
    with pytest.raises(ConfigError, match="--region: the tunnel is of the region fed; leave this out"):
        load_config(str(config), {"region": "us"})


def test_the_private_network_s_flags_are_read_and_checked() -> None:
    overrides = {
        "dns-resolver-addrs": "10.0.0.53:53,[fd00::53]:5353",
        "icmpv4-src": "10.0.0.1",
        "icmpv6-src": "fd00::1",
    }
    config = load_config(None, overrides, credentials=credentials())
    assert config.private.dns_resolvers == (("10.0.0.53", 53), ("fd00::53", 5353))
    assert (str(config.private.icmpv4_source), str(config.private.icmpv6_source)) == ("10.0.0.1", "fd00::1")
    wrong = {"dns-resolver-addrs": "dns.example:53", "icmpv4-src": "fd00::1", "icmpv6-src": "ten"}
    with pytest.raises(ConfigError) as caught:
        load_config(None, wrong, credentials=credentials())
    for said in ('"dns.example:53" is no resolver', '"fd00::1" is no IPv4 address', '"ten" is no IPv6 address'):
        assert said in str(caught.value)
    with pytest.raises(ConfigError, match="at most 10 resolvers"):
        load_config(None, {"dns-resolver-addrs": ",".join(["10.0.0.1:53"] * 11)}, credentials=credentials())
