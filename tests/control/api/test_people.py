"""Identity providers, people and the ends of their sessions: made, told to edges, refused where they make no sense."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pyconnector.control.store.access.providers import HIDDEN
from pyconnector.identity.people.person import subject_of
from tests.control.support import snapshot

if TYPE_CHECKING:
    from tests.control.support import Mesh

CONFIG = {"issuer_url": "https://id.example.com", "client_id": "mesh", "client_secret": "the secret of the client"}
REPORT: dict[str, Any] = {
    "id": "00000000-0000-0000-0000-000000000001", "name": "e", "address": "127.0.0.1:1", "connections": [],
}  # fmt: skip


def providers(mesh: Mesh) -> str:
    return f"{mesh.account}/access/identity_providers"


async def told(mesh: Mesh, kind: str) -> dict[str, Any]:
    async with mesh.edge() as edge:
        objects: dict[str, Any] = (await snapshot(edge))["objects"].get(kind, {})
        return objects


async def test_a_client_secret_is_told_to_edges_alone(mesh: Mesh) -> None:
    made = await mesh.call("POST", providers(mesh), json={"name": "Firm", "type": "oidc", "config": CONFIG})
    assert made["config"] == CONFIG | {"client_secret": HIDDEN}
    path = f"{providers(mesh)}/{made['id']}"
    assert await mesh.call("GET", path) == made
    assert await mesh.call("GET", providers(mesh)) == [made]
    changed = {"name": "The firm", "type": "oidc", "config": made["config"] | {"client_id": "other"}}
    assert (await mesh.call("PUT", path, json=changed))["name"] == "The firm"
    value = (await told(mesh, "access_identity_provider"))[made["id"]]
    assert value["config"] == CONFIG | {"client_id": "other"}
    log = await mesh.call("GET", f"{mesh.account}/logs/audit?since=2020-01-01&before=2100-01-01")
    assert "Created identity provider Firm" in json.dumps(log)
    assert CONFIG["client_secret"] not in json.dumps(log)
    assert await mesh.call("DELETE", path) == {"id": made["id"]}
    assert await told(mesh, "access_identity_provider") == {}


@pytest.mark.parametrize(
    ("kind", "config", "sentence"),
    [
        ("oidc", {"client_id": "x"}, "issuer_url is missing"),
        ("oidc", CONFIG | {"issuer_url": "http://id.example.com"}, "no https"),
        ("oidc", CONFIG | {"issuer_url": "https://a@id.example.com"}, "no https"),
        ("oidc", CONFIG | {"client_id": ""}, "client_id is missing"),
        ("oidc", CONFIG | {"auth_url": "https://id.example.com/a"}, "come together"),
        ("oidc", CONFIG | {"pkce_enabled": False}, "PKCE is always used"),
        ("oidc", CONFIG | {"scopes": "openid"}, "list of at most"),
        ("onetimepin", {"x": 1}, "--login-pins"),
    ],
)
async def test_a_provider_that_makes_no_sense_is_refused(
    mesh: Mesh, kind: str, config: dict[str, Any], sentence: str
) -> None:
    body = {"name": "x", "type": kind, "config": config}
    assert sentence in (await mesh.refused(400, "POST", providers(mesh), json=body))["message"]


async def test_what_refers_to_a_provider_keeps_it(mesh: Mesh) -> None:
    pin = {"name": "PIN", "type": "onetimepin", "config": {}}
    made = await mesh.call("POST", providers(mesh), json=pin)
    await mesh.refused(409, "POST", providers(mesh), json=pin)
    access = f"{mesh.account}/access"
    missing = [{"login_method": {"id": "00000000-0000-0000-0000-000000000001"}}]
    body = {"name": "people", "decision": "allow", "include": missing}
    assert "no identity provider" in (await mesh.refused(400, "POST", f"{access}/policies", json=body))["message"]
    body["include"] = [{"login_method": {"id": made["id"]}}]
    policy = await mesh.call("POST", f"{access}/policies", json=body)
    path = f"{providers(mesh)}/{made['id']}"
    assert "people refers" in (await mesh.refused(409, "DELETE", path))["message"]
    await mesh.call("PUT", f"{access}/policies/{policy['id']}", json=body | {"include": [{"everyone": {}}]})
    app = {"name": "tool", "type": "self_hosted", "domain": "a.example.com", "allowed_idps": [made["id"]]}
    application = await mesh.call("POST", f"{access}/apps", json=app | {"auto_redirect_to_identity": True})
    assert (application["allowed_idps"], application["auto_redirect_to_identity"]) == ([made["id"]], True)
    value = (await told(mesh, "access_application"))[application["id"]]
    assert (value["allowed_idps"], value["auto_redirect_to_identity"]) == ([made["id"]], True)
    assert "tool refers" in (await mesh.refused(409, "DELETE", path))["message"]


async def test_sessions_of_a_person_are_revoked_everywhere(mesh: Mesh) -> None:
    path = f"{mesh.account}/access/organizations/revoke_user"
    assert await mesh.call("POST", path, json={"email": "Ann@Example.com"}) is True
    await mesh.refused(400, "POST", path, json={"email": "nobody"})
    subject = subject_of(mesh.plane.installation.account_id, "ann@example.com")
    value = (await told(mesh, "access_user"))[subject]
    assert value["email"] == "ann@example.com"
    assert value["valid_after"] > 1_700_000_000


async def test_edges_tell_of_logins_and_of_sessions_that_ended(mesh: Mesh) -> None:
    async with mesh.edge() as edge:
        login = {"email": "ann@example.com", "name": "Ann", "age": 3.0}
        for ended in ({"a" * 32: 900.0}, {"b" * 32: 0.0}, {"c" * 32: 900.0}):
            report = REPORT | {"logins": [login], "ended_sessions": ended}
            assert (await edge.post("/report", json=report)).status_code == 200
    (person,) = await mesh.call("GET", f"{mesh.account}/access/users")
    assert (person["email"], person["name"]) == ("ann@example.com", "Ann")
    assert person["last_successful_login"] is not None
    assert set(await told(mesh, "access_ended_session")) == {"a" * 32, "c" * 32}


async def test_a_claim_that_a_rule_asks_for_stays_kept(mesh: Mesh) -> None:
    body = {"name": "Firm", "type": "oidc", "config": CONFIG}
    made = await mesh.call("POST", providers(mesh), json=body)
    rule = {"oidc": {"identity_provider_id": made["id"], "claim_name": "groups", "claim_value": "ops"}}
    policy = {"name": "ops", "decision": "allow", "include": [rule]}
    policies = f"{mesh.account}/access/policies"
    assert "name it in config.claims of Firm" in (await mesh.refused(400, "POST", policies, json=policy))["message"]
    body["config"] = CONFIG | {"claims": ["groups"]}
    await mesh.call("PUT", f"{providers(mesh)}/{made['id']}", json=body)
    assert (await mesh.call("POST", policies, json=policy))["include"] == [rule]
    body["config"] = CONFIG
    refused = await mesh.refused(409, "PUT", f"{providers(mesh)}/{made['id']}", json=body)
    assert "ops asks for the claim groups" in refused["message"]
    assert "refers to" in (await mesh.refused(409, "DELETE", f"{providers(mesh)}/{made['id']}"))["message"]
