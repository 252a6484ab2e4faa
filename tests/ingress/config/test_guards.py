"""Keys that guard something are errors wherever they have no effect, also where unknown keys are allowed."""

from typing import Any

import pytest

from pyconnector.ingress import IngressError, parse_ingress, parse_warp_routing
from pyconnector.ingress.config.keys.guards import MAX_SEARCH_DEPTH, guard_meant, hidden_guards

ACCESS = {"required": True, "teamName": "example", "audTag": ["a"]}
SPELLINGS = [
    "access", "Access", "ACCESS", "acces", "acess", "axcess", "accesses", "cf-access",
    "cloudflare_access", "requireAccess",
    "ipRules", "iprules", "ip-rules", "ip_rules", "IPRules", "ipRule", "ip_rulez",
    "teamName", "team-name", "teamname", "audTag", "aud_tag", "audTags", "aud",
]  # fmt: skip


def refusal(config: dict[str, Any]) -> str:
    for read in (parse_ingress, parse_warp_routing):
        try:
            read(config, allow_unknown_keys=True)
        except IngressError as error:
            return str(error)
    return ""


@pytest.mark.parametrize("name", [name for name in SPELLINGS if name not in ("access", "ipRules")])
def test_a_guarding_key_in_another_spelling_is_never_passed_over(name: str) -> None:
    assert name in refusal({"ingress": [{"service": "hello_world", "originRequest": {name: ACCESS}}]})


@pytest.mark.parametrize("name", SPELLINGS)
@pytest.mark.parametrize(
    "place",
    [
        lambda keys: {"ingress": [{"service": "hello_world", **keys}]},
        lambda keys: {"ingress": [{"service": "hello_world", "colour": keys}]},
        lambda keys: {"ingress": [{"service": "hello_world", "originRequest": {"colours": [{"of": [keys]}]}}]},
        lambda keys: {"ingress": [{"service": "hello_world", "originRequest": {"healthCheck": keys}}]},
        lambda keys: {"ingress": [{"service": "hello_world"}], "originRequest": {"colour": {"of": keys}}},
        lambda keys: {"ingress": [{"service": "hello_world"}], "warp-routing": keys},
        lambda keys: {"ingress": [{"service": "hello_world"}], "warp-routing": {"enabled": keys}},
    ],
)
def test_a_guarding_key_in_a_wrong_place_is_never_passed_over(name: str, place: Any) -> None:
    assert name in refusal(place({name: ACCESS}))


def test_a_slip_in_what_holds_guarding_keys_is_never_passed_over() -> None:
    for name in ("origin-request", "originrequest", "orginRequest"):
        assert name in refusal({"ingress": [{"service": "hello_world", name: {}}]})


def test_the_sentence_says_where_the_key_belongs() -> None:
    config = {"ingress": [{"service": "hello_world", "colour": {"acces": ACCESS}, "audTag": ["a"]}]}
    assert refusal(config).splitlines() == [
        "ingress[0].colour.acces: acces does not belong here; write access under originRequest",
        "ingress[0].audTag: audTag does not belong here; write it under access, in originRequest",
    ]


@pytest.mark.parametrize("name", ["success", "accessLog", "accessKey", "rules", "process", "team1", "audio", "i", ""])
def test_other_words_guard_nothing(name: str) -> None:
    assert guard_meant(name) == ""


def test_what_is_nested_too_deeply_to_be_searched_counts_as_found() -> None:
    value: dict[str, Any] = {}
    for _ in range(MAX_SEARCH_DEPTH + 2):
        value = {"x": value}
    assert len(list(hidden_guards(value, ("y",)))) == 1
    value["x"] = value
    assert len(list(hidden_guards(value, ("y",)))) == 1
