"""What an OpenID provider says of people besides their address: groups in policies, and providers without discovery."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from pyconnector.identity.people.oidc import MAX_CLAIMS, OidcError, kept_claims
from pyconnector.identity.people.providers import OidcSettings, ProviderError, parse_provider
from pyconnector.identity.policies.rules import Caller, Conditions, PolicyError, claims_asked, parse_rules
from tests.edge.login.test_oidc import FIRM, back, email_at, scene
from tests.support.identity.people import ANN, TOOL

OPS = {"oidc": {"identity_provider_id": FIRM, "claim_name": "groups", "claim_value": "ops"}}
SETTINGS = OidcSettings(issuer="https://id.example.com", client_id="mesh", claims=("groups", "level", "staff"))


async def test_a_group_at_the_provider_lets_people_pass(tmp_path: Path) -> None:
    async with scene(tmp_path) as (hall, provider, browser):
        hall.provider(FIRM, "oidc", provider.config(claims=["groups", "level"]))
        hall.world.policy("people", "allow", include=[OPS])
        provider.person |= {"groups": ["dev", "ops"], "level": 3, "phone": "1"}
        served = await browser.follow(await back(browser, provider))
        assert email_at(served) == ANN
        assertion = next(value for name, value in served.json()["headers"] if name.lower() == "cf-access-jwt-assertion")
        part = assertion.split(".")[1]
        said = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        assert said["custom"] == {"groups": ["dev", "ops"], "level": ["3"]}
        told = (await browser.ask("GET", browser.url(TOOL, "/cdn-cgi/access/get-identity"))).json()
        assert told["custom"]["level"] == ["3"]
        # Who left the group is kept out from the next login on; and at once where the policy changes.
        hall.world.policy("people", "allow", include=[OPS], exclude=[
            {"oidc": {"identity_provider_id": FIRM, "claim_name": "level", "claim_value": "3"}}
        ])  # fmt: skip
        assert (await browser.ask("GET", browser.url(TOOL))).status_code == 403
        provider.person["groups"] = ["dev"]
        async with hall.browser() as second:
            refused = await second.follow(await back(second, provider))
            assert refused.status_code == 403


@pytest.mark.parametrize("in_id_token", [True, False])
async def test_a_provider_without_discovery_is_asked_where_its_settings_say(tmp_path: Path, in_id_token: bool) -> None:
    async with scene(tmp_path) as (hall, provider, browser):
        urls = {"auth_url": "authorize", "token_url": "token", "certs_url": "keys", "userinfo_url": "me"}
        given = {name: f"{provider.issuer}/{path}" for name, path in urls.items()}
        hall.provider(FIRM, "oidc", provider.config(claims=["groups"], **given))
        hall.world.policy("people", "allow", include=[OPS])
        provider.person["groups"] = "ops"
        provider.in_id_token = in_id_token
        assert email_at(await browser.follow(await back(browser, provider))) == ANN
        assert provider.asked == ["/token", "/keys", *([] if in_id_token else ["/me"])]


async def test_the_issuer_counts_without_discovery_too(tmp_path: Path) -> None:
    async with scene(tmp_path) as (hall, provider, browser):
        given = {name: f"{provider.issuer}/{path}" for name, path in
                 {"auth_url": "authorize", "token_url": "token", "certs_url": "keys"}.items()}  # fmt: skip
        hall.provider(FIRM, "oidc", provider.config(**given) | {"issuer_url": "http://127.0.0.1:1"})
        assert (await back(browser, provider)).status_code == 502


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"auth_url": "https://id.example.com/a"}, "come together"),
        ({"auth_url": "https://a.test", "token_url": "http://a.test", "certs_url": "https://a.test"}, "token_url"),
        ({"claims": "groups"}, "list"),
        ({"claims": [""]}, "list"),
        ({"jwks": "x"}, "not used"),
    ],
)
def test_endpoints_and_claims_that_make_no_sense_are_refused(more: dict[str, Any], told: str) -> None:
    config = {"issuer_url": "https://id.example.com", "client_id": "mesh", **more}
    with pytest.raises(ProviderError, match=told):
        parse_provider("", {"name": "Firm", "type": "oidc", "config": config})


def test_claims_are_kept_as_texts_and_only_those_that_are_named() -> None:
    said = {"groups": ["a", {"b": 1}, "c\n", "", None, "a"], "level": 3, "staff": True, "other": "x"}
    assert kept_claims(said, SETTINGS) == {"groups": ["a"], "level": ["3"], "staff": ["true"]}
    assert kept_claims({}, SETTINGS) == {}


def test_of_too_many_values_those_of_rules_are_kept_and_none_of_them_left_out() -> None:
    groups = [f"group-{number}" for number in range(MAX_CLAIMS // 8)]
    asked = {("groups", groups[-1]), ("groups", "other"), ("level", groups[0])}
    assert kept_claims({"groups": groups}, SETTINGS, asked) == {"groups": [groups[-1]]}
    with pytest.raises(OidcError, match="more of somebody"):
        kept_claims({"groups": groups}, SETTINGS, {("groups", group) for group in groups})


def test_a_claim_counts_from_its_own_provider_alone() -> None:
    (rule,) = parse_rules([OPS], "include")
    assert rule.matches(Caller(provider=FIRM, claims={"groups": ["ops"]}), {})
    for caller in (
        Caller(provider="other", claims={"groups": ["ops"]}), Caller(provider=FIRM, claims={"roles": ["ops"]}),
        Caller(provider=FIRM, claims={"groups": ["Ops"]}), Caller(provider=FIRM),
    ):  # fmt: skip
        assert not rule.matches(caller, {})
    asked = claims_asked([Conditions(include=(rule,)), Conditions(include=(), exclude=(rule,))], FIRM)
    assert asked == {("groups", "ops")}
    assert claims_asked([Conditions(include=(rule,))], "other") == set()
    with pytest.raises(PolicyError, match="write the rule as"):
        parse_rules([{"oidc": {"claim_name": "groups"}}], "include")
