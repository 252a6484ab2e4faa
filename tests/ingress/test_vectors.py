"""Every config of the reference's vectors: accepted or refused alike, the same rules, the same matches."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pyconnector.ingress import Ingress, IngressError, parse_ingress
from pyconnector.ingress.config.local_configuration import all_settings
from pyconnector.ingress.rules.hostnames import comparable, strip_port

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "vectors" / "ingress.json").read_text())
#: The reference shows an absent `access` as an empty one, and its IP rules as empty objects.
SHOWN_OTHERWISE = {"access", "ipRules"}
#: What the reference says, and what the same problem is called here.
SAME_PROBLEM = {
    "doesn't contain any ingress rules": "no ingress rules",
    "support proxying to a different path": "cannot have a path",
    "make sure it has a scheme and a hostname": "needs a scheme and a hostname",
    "invalid HTTP status code": "invalid HTTP status code",
    "The last ingress rule must match all URLs": "the last ingress rule must match all URLs",
    "one wildcard character": "one wildcard character",
    "Hostname cannot contain a port": "the hostname cannot contain a port",
    "has an invalid regex": "has an invalid regex",
    "will match every hostname": "matches every hostname",
    "in host name": "no host name can have",
    "TeamName cannot be blank": "access.teamName cannot be empty",
    "unable to parse cidr": "network in CIDR form",
    "no prefix provided": "a prefix is needed",
    "needs to be between 1 and 65535": "expected a port between 1 and 65535",
    "into time.Duration": "expected a duration like 30s",
    "into string": "expected a service",
    "into []config.UnvalidatedIngressRule": "expected a list of rules",
}


def test_there_are_all_the_vectors() -> None:
    assert len(CASES) == 107


@pytest.mark.parametrize("case", CASES, ids=[f"{number:03}" for number in range(len(CASES))])
def test_config_is_judged_and_matched_like_the_reference(case: dict[str, Any]) -> None:
    try:
        config = yaml.safe_load(case["yaml"])
    except yaml.YAMLError:
        assert case["stage"] == "yaml"
        return
    if not case["ok"]:
        with pytest.raises(IngressError) as caught:
            parse_ingress(config)
        assert any(words in str(caught.value) for words in _same_problem(case["error"]))
        return
    ingress = parse_ingress(config)
    for expected, rule in zip(case["rules"], ingress.rules, strict=True):
        assert (rule.hostname, rule.path, str(rule.service)) == (
            expected["hostname"],
            expected["path"],
            expected["service"],
        )
        ours = all_settings(rule.settings)
        theirs = expected["originRequest"]
        assert {name: ours[name] for name in theirs.keys() - SHOWN_OTHERWISE} == {
            name: theirs[name] for name in theirs.keys() - SHOWN_OTHERWISE
        }
    for query in case["queries"]:
        match = ingress.match(query["hostname"], query["path"])
        expected = meant(ingress, query["hostname"], query["path"], query["rule"])
        assert (match.index, match.rule) == (expected, ingress.rules[expected]), query


def meant(ingress: Ingress, hostname: str, path: str, theirs: int) -> int:
    """Return the rule that a request should meet: the reference's, unless its name is spelt otherwise than a rule's."""
    host = strip_port(hostname)
    names = [rule.hostname for rule in ingress.rules if rule.hostname.startswith("*.") or rule.hostname.endswith(".")]
    if host == comparable(host) and all(name == comparable(name) for name in names):
        return theirs
    return next(index for index, rule in enumerate(ingress.rules) if rule.matches(host, path))


def _same_problem(message: str) -> list[str]:
    words = [ours for theirs, ours in SAME_PROBLEM.items() if theirs in message]
    return [*words, "the rule has no service"] if message.startswith(" is an invalid address") else words


def test_access_and_ip_rules_of_the_vectors_are_kept() -> None:
    rules = [parse_ingress(yaml.safe_load(case["yaml"])).rules[0] for case in CASES[32:35]]
    assert all_settings(rules[0].settings)["access"] == {"required": True, "teamName": "t", "audTag": ["a"]}
    assert all_settings(rules[1].settings)["access"] == {"teamName": "", "audTag": ["a"]}
    assert all_settings(rules[2].settings)["ipRules"] == [{"prefix": "10.0.0.0/8", "ports": [80, 443], "allow": True}]
