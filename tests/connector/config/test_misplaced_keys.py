"""Keys at the top of a config that do nothing there: what guards is an error, others say where they belong."""

from pathlib import Path

import pytest

from pyconnector.connector.config.flags import FLAGS, REQUEST_FLAGS
from pyconnector.ingress.config.keys.origin_keys import ORIGIN_REQUEST
from pyconnector.ingress.config.keys.rule_keys import RULE
from pyconnector.ingress.config.warp_routing import WARP_ROUTING
from tests.connector.configs import RULES, problems
from tests.ingress.config.test_guards import SPELLINGS


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_guarding_key_at_the_top_is_never_passed_over(tmp_path: Path, name: str) -> None:
    for text in (f"{name}: {{required: true}}\n", f"x-common:\n  - {name}: 1\n", f"tunnels: {{{name}: 1}}\n"):
        (found,) = problems(tmp_path, text + RULES, allow_unknown_keys=True)
        assert f"{name} does not belong here; write " in found


def test_access_at_the_top_is_told_where_it_belongs(tmp_path: Path) -> None:
    text = f"{RULES}access: {{required: true, teamName: example, audTag: [a]}}\n"
    expected = ["config.yml:4:1: access: access does not belong here; write it under originRequest"]
    assert problems(tmp_path, text) == expected
    assert problems(tmp_path, text, allow_unknown_keys=True) == expected


def test_a_guarding_key_in_a_document_that_is_passed_over_is_an_error(tmp_path: Path) -> None:
    text = RULES + "---\noriginRequest:\n  - access: {required: true}\n"
    (found,) = problems(tmp_path, text, allow_unknown_keys=True)
    assert found.startswith("config.yml:6:5: access has no effect here: only the first YAML document")
    assert problems(tmp_path, RULES + "---\nnotes: [1]\n") == []


@pytest.mark.parametrize(
    "name", ["ca-cert", "caCert", "cacerts", "postQuantum", "post-quantm", "noRemoteConfig", "keep-local-acces"]
)
def test_a_slip_in_a_flag_that_guards_is_never_passed_over(tmp_path: Path, name: str) -> None:
    assert len(problems(tmp_path, f"{name}: x\n{RULES}", allow_unknown_keys=True)) == 1


@pytest.mark.parametrize("name", [key.name for key in ORIGIN_REQUEST.keys if key.name not in FLAGS])
def test_every_key_of_origin_request_is_told_where_it_belongs(tmp_path: Path, name: str) -> None:
    of_a_rule = " of a rule" if ORIGIN_REQUEST[name].only_in_rules else ""
    for text in (RULES, ""):
        (found,) = problems(tmp_path, f"{name}: x\n{text}")
        assert found == f"config.yml:2:1: {name}: {name} does not belong here; write it under originRequest{of_a_rule}"


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("originServername", "write originServerName under originRequest"),
        ("no_tls_verify", "write noTLSVerify under originRequest"),
        ("http-host-headr", "write httpHostHeader under originRequest"),
        ("maxActiveFlows", "write it under warp-routing"),
        ("service", "write it in a rule of ingress"),
        ("path", "write it in a rule of ingress"),
        ("servic", "write service in a rule of ingress"),
    ],
)
def test_near_misses_of_inner_keys_are_told_where_they_belong(tmp_path: Path, name: str, advice: str) -> None:
    assert problems(tmp_path, f"{name}: 1\n{RULES}") == [
        f"config.yml:2:1: {name}: {name} does not belong here; {advice}"
    ]


def test_without_rules_the_flag_of_the_one_origin_is_meant(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, "http-host-headr: a\nurl: http://localhost:1\n")
    assert found.endswith("unknown key; did you mean http-host-header?")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("tunnel-token", "token"),
        ("cred-file", "credentials-file"),
        ("credentialsFile", "credentials-file"),
        ("log-level", "loglevel"),
        ("rules", "ingress"),
    ],
)
def test_other_names_of_top_level_keys_are_known(tmp_path: Path, name: str, meant: str) -> None:
    assert problems(tmp_path, f"{name}: x\n{RULES}") == [f"config.yml:2:1: {name}: unknown key; did you mean {meant}?"]


def test_no_advice_leads_to_a_key_without_effect(tmp_path: Path) -> None:
    useless = {name for name, flag in FLAGS.items() if not flag.has_effect} | set(REQUEST_FLAGS)
    names = [f"{key}x" for key in FLAGS if f"{key}x" not in FLAGS] + ["connection-idle-timeout"]
    text = "".join(f"{name}: 1\n" for name in names)
    found = problems(tmp_path, text + RULES)
    assert len(found) == len(names)
    suggestions = {line.rpartition("did you mean ")[2].rstrip("?") for line in found if "did you mean" in line}
    assert suggestions
    assert suggestions.isdisjoint(useless)


def test_every_table_of_inner_keys_is_known_at_the_top() -> None:
    from pyconnector.connector.config.flag_values import _INNER_KEYS

    assert {id(table) for table, _ in _INNER_KEYS} == {id(table) for table in (ORIGIN_REQUEST, WARP_ROUTING, RULE)}
