"""Who shows an Access token at the gateway, of an agent or a person, and what ends their flows."""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pyconnector.edge.access.entries import NetworkRuleEntry
from tests.support.identity.agents import Agent, World, person_token
from tests.support.peers.gateway import Client, connect_head, rule, token

if TYPE_CHECKING:
    from tests.support.houses.private_house import PrivateHouse
from tests.support.houses.gateway_house import echo_service, gateway_house, gateway_of, opened, record_of

pytestmark = pytest.mark.usefixtures("each_loop")


AUDIENCES = tuple(uuid.uuid5(uuid.NAMESPACE_DNS, name).hex * 2 for name in ("mesh", "other"))


def filled(house: PrivateHouse) -> Agent:
    """Tell the edge of an agent and two applications; the gateway takes tokens of the first."""
    world = World(house.edge.gate.state)
    for name in ("mesh", "other"):
        world.application(name, f"{name}.example.com")
    return world.agent()


def issued(house: PrivateHouse, agent: Agent, audience: str = AUDIENCES[0], **claims: Any) -> dict[str, str]:
    """Headers with a token as an edge issues it."""
    issuer, state = house.edge.gate.issuer, house.edge.gate.state
    application, service_token = state.applications.of_audience(audience), state.token(agent.id)
    assert issuer is not None
    assert application is not None
    assert service_token is not None
    said = issuer.claims(service_token, application, 600, time.time()) | claims
    return {"Cf-Access-Token": issuer.sign(said).decode()}


async def with_token(house: PrivateHouse, port: int, headers: dict[str, str]) -> tuple[Client, int]:
    client = await Client.at(gateway_of(house).http_address)
    client.writer.write(connect_head("127.0.0.1", port, headers))
    return client, await client.status()


async def test_an_access_token_for_the_gateway_is_a_credential() -> None:
    async with gateway_house(audiences=AUDIENCES[:1]) as house, echo_service() as port:
        agent = filled(house)
        token = issued(house, agent)
        as_bearer = {"Proxy-Authorization": f"Bearer {token['Cf-Access-Token']}"}
        for headers in (token, as_bearer, issued(house, agent, type="session", methods=["CONNECT"])):
            client, status = await with_token(house, port, headers)
            assert status == 200
            assert await client.ask(b"x") == b"x"
            client.close()
        assert (await record_of(house))["ServiceTokenName"] == "agent-01"


@pytest.mark.parametrize(
    ("audience", "claims", "reason"),
    [
        (AUDIENCES[1], {}, "invalid_token"),
        (AUDIENCES[0], {"aud": ["c" * 64]}, "revoked"),
        (AUDIENCES[0], {"iss": "https://other.example.com"}, "invalid_token"),
        (AUDIENCES[0], {"exp": 1_700_000_000}, "invalid_token"),
        (AUDIENCES[0], {"type": "org"}, "invalid_token"),
        (AUDIENCES[0], {"type": "session", "path": "/docs"}, "outside_of_session"),
        (AUDIENCES[0], {"type": "session", "methods": ["GET"]}, "outside_of_session"),
        (AUDIENCES[0], {"common_name": "nobody.access"}, "revoked"),
    ],
)
async def test_an_access_token_for_anything_else_is_none(audience: str, claims: dict[str, Any], reason: str) -> None:
    async with gateway_house(audiences=AUDIENCES[:1]) as house, echo_service() as port:
        client, status = await with_token(house, port, issued(house, filled(house), audience, **claims))
        assert status == 407
        assert (await record_of(house))["Reason"] == reason
        client.close()


def person_of(house: PrivateHouse, email: str = "ann@example.com", **claims: Any) -> dict[str, str]:
    """Headers of somebody who logged in to the application of the gateway."""
    world = World(house.edge.gate.state)
    world.application("mesh", "mesh.example.com", policies=[world.people()])
    return {"Cf-Access-Token": person_token(house.edge.gate, AUDIENCES[0], email, **claims).decode()}


async def test_a_person_reaches_what_rules_for_people_name() -> None:
    rules = (rule(id="1", emails=["Ann@example.com"]), rule(id="2", roles=["agent"]))
    async with gateway_house(audiences=AUDIENCES[:1], rules=rules) as house, echo_service() as port:
        client, status = await with_token(house, port, person_of(house))
        assert status == 200
        assert await client.ask(b"x") == b"x"
        client.close()
        record = await record_of(house)
        said = (record["ActorType"], record["Email"], record["IdentityProviderID"], record["RuleID"])
        assert said == ("user", "ann@example.com", "pin", "1")
        for email, status, reason in (
            ("bob@example.com", 403, "no_network_rule"), ("eve@example.net", 407, "no_policy_matched")
        ):  # fmt: skip
            client, found = await with_token(house, port, person_of(house, email))
            assert found == status
            assert (await record_of(house, count=2))["Reason"] == reason
            client.close()
        # Rules for people let no service token pass, and the other way round.
        client, through = await opened(house, "http", "127.0.0.1", port)
        assert through
        client.close()
        assert (await record_of(house, count=4))["RuleID"] == "2"


@pytest.mark.parametrize("how", ["user", "provider", "policy", "rule", "revoked", "expired"])
async def test_what_let_a_person_in_ends_their_flows(how: str) -> None:
    rules = (rule(email_domains=["example.com"]),)
    async with gateway_house(audiences=AUDIENCES[:1], rules=rules) as house, echo_service() as port:
        client, _ = await with_token(house, port, person_of(house))
        assert await client.ask(b"x") == b"x"
        state = house.edge.gate.state
        world, later = World(state), time.time() + 5
        if how == "user":
            world.put("access_user", "u", {"email": "ann@example.com", "valid_after": later})
        elif how == "provider":
            state.drop("access_identity_provider", "pin")
        elif how == "policy":
            world.policy("people", "allow", include=[{"email": {"email": "bob@example.com"}}])
        elif how == "rule":
            state.put("network_rule", NetworkRuleEntry(rule=rule(emails=["bob@example.com"]), precedence=0))
        elif how == "revoked":
            world.application("mesh", "mesh.example.com", policies=["people"], valid_after=later)
        else:
            house.edge.gate.clock = lambda: later + 3600
            gateway_of(house).judge.check_time()
        assert await client.rest() == b""
        assert (await record_of(house))["ConnectionCloseReason"] == "PROXY_CONN_REFUSED"
        client.close()


@pytest.mark.parametrize("how", ["token", "policy", "application", "revoked"])
async def test_what_an_access_token_was_good_for_ends_its_flows(how: str) -> None:
    async with gateway_house(audiences=AUDIENCES[:1]) as house, echo_service() as port:
        agent = filled(house)
        client, _ = await with_token(house, port, issued(house, agent))
        assert await client.ask(b"x") == b"x"
        state = house.edge.gate.state
        if how == "token":
            agent.delete()
        elif how == "policy":
            agent.world.policy("mesh-policy", include=[{"role": {"role": "admin"}}])
        elif how == "application":
            state.drop("access_application", "mesh")
        else:
            agent.change(valid_after=time.time() + 1)
        assert await client.rest() == b""
        assert (await record_of(house))["ConnectionCloseReason"] == "PROXY_CONN_REFUSED"
        client.close()


async def test_flows_whose_token_is_revoked_while_they_are_opened_do_not_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    async with gateway_house() as house, echo_service() as port:
        judge = gateway_of(house).judge
        find = house.network.find

        async def slow(*args: Any) -> Any:
            found = await find(*args)
            house.edge.gate.state.put("service_token", replace(token(), enabled=False))
            return found

        monkeypatch.setattr(house.network, "find", slow)
        client, through = await with_reset(opened(house, "http", "127.0.0.1", port))
        assert not through
        assert (await record_of(house))["Detail"] == "the token was revoked"
        assert len(judge) == 0
        if client is not None:
            client.close()


async def with_reset(opening: Any) -> tuple[Client | None, bool]:
    try:
        found: tuple[Client, bool] = await opening
    except (ConnectionError, asyncio.IncompleteReadError):
        return None, False
    return found
