"""Objects of Access in the API: what is made, shown once, refused, told to edges and written into the audit log."""

from __future__ import annotations

import asyncio
import datetime
import json
from typing import TYPE_CHECKING, Any

import pytest

from pyconnector.control.key_rotation import KeyRotation
from pyconnector.control.store.access import keys
from pyconnector.control.store.work import Actor
from pyconnector.identity.access_token.signing import load_key
from pyconnector.identity.service_tokens import digest, is_client_id, is_secret
from tests.control.support import snapshot

if TYPE_CHECKING:
    from tests.control.support import Mesh

ANY_TOKEN: dict[str, Any] = {"any_valid_service_token": {}}


def tokens(mesh: Mesh) -> str:
    return f"{mesh.account}/access/service_tokens"


async def told(mesh: Mesh, kind: str) -> dict[str, Any]:
    async with mesh.edge() as edge:
        objects: dict[str, Any] = (await snapshot(edge))["objects"].get(kind, {})
        return objects


def later(**distance: float) -> str:
    return (datetime.datetime.now(datetime.UTC) + datetime.timedelta(**distance)).isoformat()


async def test_the_request_of_the_introduction(mesh: Mesh) -> None:
    response = await mesh.client.post(
        tokens(mesh), content=b'{"name": "agent-01-token"}', headers={"Content-Type": "application/json"}
    )
    made = response.json()["result"]
    assert made["name"] == "agent-01-token"
    assert is_client_id(made["client_id"])
    assert is_secret(made["client_secret"])
    assert made["client_secret"].startswith("cfast_")
    assert (made["duration"], made["enabled"], made["client_secret_version"]) == ("8760h", True, 1)


async def test_a_secret_is_shown_once_and_stored_nowhere(mesh: Mesh) -> None:
    for form in ("cfast", "hex"):
        made = await mesh.call("POST", tokens(mesh), json={"name": "a", "secret_form": form})
        secret = made["client_secret"]
        assert secret.startswith("cfast_") is (form == "cfast")
        got = await mesh.call("GET", f"{tokens(mesh)}/{made['id']}")
        listed = await mesh.call("GET", tokens(mesh))
        log = await mesh.call("GET", f"{mesh.account}/logs/audit?since=2020-01-01&before=2100-01-01")
        everything = await told(mesh, "service_token")
        assert secret not in json.dumps([got, listed, log, everything])
        assert everything[made["id"]]["secrets"] == [{"sha256": digest(secret).hex(), "expires": None}]


async def test_rotation_lets_the_secret_before_live_as_long_as_is_said(mesh: Mesh) -> None:
    made = await mesh.call("POST", tokens(mesh), json={"name": "a"})
    path = f"{tokens(mesh)}/{made['id']}"
    body = {"previous_client_secret_expires_at": later(hours=2)}
    rotated = await mesh.call("POST", f"{path}/rotate", json=body)
    assert rotated["client_secret_version"] == 2
    value = (await told(mesh, "service_token"))[made["id"]]
    shown = [entry["sha256"] for entry in value["secrets"]]
    assert shown == [digest(rotated["client_secret"]).hex(), digest(made["client_secret"]).hex()]
    assert value["secrets"][1]["expires"] is not None
    assert value["valid_after"] == 0.0
    for distance in ({"minutes": 59}, {"days": 31}, {"hours": -1}):
        body = {"previous_client_secret_expires_at": later(**distance)}
        await mesh.refused(400, "POST", f"{path}/rotate", json=body)
    assert (await mesh.call("POST", f"{path}/rotate"))["client_secret_version"] == 3
    value = (await told(mesh, "service_token"))[made["id"]]
    assert len(value["secrets"]) == 1
    assert value["valid_after"] > 0
    edited = await mesh.call("PUT", path, json={"client_secret_version": 4})
    assert is_secret(edited["client_secret"])
    await mesh.refused(400, "PUT", path, json={"client_secret_version": 7})


async def test_a_token_is_renewed_disabled_and_deleted(mesh: Mesh) -> None:
    made = await mesh.call("POST", tokens(mesh), json={"name": "a", "duration": "1h"})
    path = f"{tokens(mesh)}/{made['id']}"
    assert (await mesh.call("PUT", path, json={"duration": "forever"}))["expires_at"] is None
    assert (await mesh.call("PUT", path, json={"duration": "24h"}))["expires_at"] > made["expires_at"]
    await mesh.call("POST", f"{path}/refresh")
    assert (await mesh.call("PUT", path, json={"enabled": False}))["enabled"] is False
    value = (await told(mesh, "service_token"))[made["id"]]
    assert value["enabled"] is False
    assert value["valid_after"] > 0  # what was issued for it stays worthless when it is enabled again
    await mesh.call("DELETE", path)
    assert await told(mesh, "service_token") == {}
    await mesh.refused(404, "GET", path)
    for body in ({"name": ""}, {"name": "a", "duration": "1 year"}, {"name": "a", "role": "a b"}, {"nam": "a"}):
        await mesh.refused(400, "POST", tokens(mesh), json=body)


async def test_edges_report_when_a_token_was_used(mesh: Mesh) -> None:
    made = await mesh.call("POST", tokens(mesh), json={"name": "a"})
    assert "last_seen_at" not in made
    number = "00000000-0000-0000-0000-00000000000"
    report: dict[str, Any] = {"id": f"{number}1", "name": "e", "address": "", "connections": []}
    async with mesh.edge() as edge:
        for age in (5.0, 60.0):
            used = {made["id"]: age, f"{number}2": 1.0}
            assert (await edge.post("/report", json=report | {"used_tokens": used})).status_code == 200
    seen = (await mesh.call("GET", f"{tokens(mesh)}/{made['id']}"))["last_seen_at"]
    since = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(seen)
    assert datetime.timedelta(seconds=4) < since < datetime.timedelta(seconds=55)


async def test_policies_groups_and_applications_refer_to_what_is_there(mesh: Mesh) -> None:
    access = f"{mesh.account}/access"
    token = await mesh.call("POST", tokens(mesh), json={"name": "a", "role": "reader", "labels": ["x", "x"]})
    assert (token["role"], token["labels"]) == ("reader", ["x"])
    include = [{"service_token": {"token_id": token["id"]}}]
    group = await mesh.call("POST", f"{access}/groups", json={"name": "g", "include": include})
    body = {"name": "p", "decision": "non_identity", "include": [{"group": {"id": group["id"]}}]}
    policy = await mesh.call("POST", f"{access}/policies", json=body)
    assert policy["revision"] == 1
    assert (await mesh.call("PUT", f"{access}/policies/{policy['id']}", json=body))["revision"] == 2
    app = await mesh.call(
        "POST", f"{access}/apps",
        json={"name": "n", "type": "self_hosted", "domain": "Grüße.example.com/x", "policies": [policy["id"]]},
    )  # fmt: skip
    assert app["domain"] == "xn--gre-6ka8l.example.com/x"
    assert len(app["aud"]) == 64
    assert [entry["app_count"] for entry in app["policies"]] == [1]
    wrong = {"name": "p", "decision": "non_identity", "include": [{"service_token": {"token_id": "x"}}]}
    error = await mesh.refused(400, "POST", f"{access}/policies", json=wrong)
    assert "not its client_id" in error["message"]
    await mesh.refused(409, "DELETE", f"{access}/groups/{group['id']}")
    await mesh.refused(409, "DELETE", f"{access}/policies/{policy['id']}")
    inner = [{"group": {"id": group["id"]}}]
    circle = await mesh.call("POST", f"{access}/groups", json={"name": "h", "include": inner})
    body = {"name": "g", "include": [{"group": {"id": circle["id"]}}]}
    error = await mesh.refused(400, "PUT", f"{access}/groups/{group['id']}", json=body)
    assert "part of itself" in error["message"]
    error = await mesh.refused(
        400, "POST", f"{access}/policies", json={"name": "b", "decision": "bypass", "include": inner}
    )
    assert "could never match" in error["message"]
    await mesh.call("DELETE", f"{access}/apps/{app['id']}")
    await mesh.call("DELETE", f"{access}/policies/{policy['id']}")
    assert await told(mesh, "access_application") == {}
    assert await told(mesh, "access_policy") == {}


@pytest.mark.parametrize(
    "change",
    [
        {"domain": "https://a.example.com"},
        {"domain": "a.example.com:80"},
        {"domain": None},
        {"type": "saas"},
        {"session_duration": "soon"},
        {"policies": ["00000000-0000-0000-0000-000000000009"]},
        {"read_service_tokens_from_header": "Cookie"},
        {"allow_iframe": True},
        {"service_auth_401_redirect": False},
    ],
)
async def test_applications_that_could_not_be_served_are_refused(mesh: Mesh, change: dict[str, Any]) -> None:
    body = {"name": "n", "type": "self_hosted", "domain": "a.example.com", **change}
    response = await mesh.client.post(f"{mesh.account}/access/apps", json=body)
    assert response.status_code in (400, 404)
    assert response.json()["errors"][0]["message"]
    assert await told(mesh, "access_application") == {}


async def test_a_place_belongs_to_one_application(mesh: Mesh) -> None:
    path = f"{mesh.account}/access/apps"
    body = {"name": "n", "type": "self_hosted", "domain": "a.example.com/x"}
    made = await mesh.call("POST", path, json=body)
    error = await mesh.refused(409, "POST", path, json=body | {"domain": "A.example.com./x/"})
    assert "belongs to the application n" in error["message"]
    await mesh.call("PUT", f"{path}/{made['id']}", json=body | {"name": "m"})
    assert (await mesh.call("GET", f"{path}/{made['id']}"))["aud"] == made["aud"]


async def test_keys_are_made_once_and_rotated_with_overlap(mesh: Mesh) -> None:
    assert await told(mesh, "access_key") == {}  # nothing of Access, no keys
    for name in ("a", "b"):
        await mesh.call("POST", tokens(mesh), json={"name": name})
    before = await told(mesh, "access_key")
    states = {value["state"]: number for number, value in before.items()}
    assert sorted(states) == ["current", "next"]
    for number, value in before.items():
        assert load_key(value["private_pem"]).id == number
    answer = await mesh.call("POST", f"{mesh.account}/access/keys/rotate")
    assert answer["days_until_next_rotation"] in (41, 42)
    after = await told(mesh, "access_key")
    assert after[states["current"]]["state"] == "previous"
    assert after[states["next"]]["state"] == "current"
    assert len(after) == 3
    left = after[states["current"]]["expires"] - datetime.datetime.now(datetime.UTC).timestamp()
    assert 6.9 * 86_400 < left < 7.1 * 86_400
    log = await mesh.call("GET", f"{mesh.account}/logs/audit?since=2020-01-01&before=2100-01-01")
    assert "PRIVATE KEY" not in json.dumps(log)


async def test_keys_rotate_by_themselves_when_they_are_due(mesh: Mesh) -> None:
    database, actor = mesh.plane.database, Actor(account_id=mesh.plane.installation.account_id)
    assert not await database.write(actor, keys.rotate_if_due)
    await mesh.call("PUT", f"{mesh.account}/access/keys", json={"key_rotation_interval_days": 21})
    assert not await database.write(actor, keys.rotate_if_due)

    async def old(work: Any) -> None:
        row = await keys._of_state(work.session, work.account_id, "current")
        assert row is not None
        row.current_since = work.now - datetime.timedelta(days=21)

    await database.write(actor, old)
    first = {number for number, value in (await told(mesh, "access_key")).items() if value["state"] == "current"}
    rotation = KeyRotation(database, actor.account_id)
    rotation.start()
    while (await told(mesh, "access_key"))[min(first)]["state"] == "current":
        await asyncio.sleep(0.01)
    await rotation.close()
    assert not await database.write(actor, keys.rotate_if_due)


async def test_every_change_is_audited_and_told_to_edges_in_order(mesh: Mesh) -> None:
    async with mesh.edge() as edge:
        number = (await snapshot(edge))["number"]
        made = await mesh.call("POST", tokens(mesh), json={"name": "a"})
        await mesh.call("PUT", f"{mesh.account}/access/organizations", json={"deny_unmatched_requests": True})
        changes = (await edge.get(f"/changes?after={number}")).json()["changes"]
    kinds = [change["kind"] for change in changes]
    assert kinds == [
        "access_organization", "access_key", "access_key", "service_token", "device", "access_organization",
    ]  # fmt: skip
    assert changes[-1]["value"] == {
        "auth_domain": "access.example.com", "deny_unmatched": True, "name": "mesh", "session_seconds": 86400.0,
    }  # fmt: skip
    log = await mesh.call("GET", f"{mesh.account}/logs/audit?since=2020-01-01&before=2100-01-01")
    assert made["id"] in [row["resource"]["id"] for row in log]


async def test_reading_needs_less_than_changing(mesh: Mesh) -> None:
    body = {"name": "reader", "scopes": ["access:read"]}
    reader = (await mesh.call("POST", "/user/tokens", json=body))["value"]
    headers = {"Authorization": f"Bearer {reader}"}
    assert await mesh.call("GET", tokens(mesh), headers=headers) == []
    await mesh.refused(403, "POST", tokens(mesh), json={"name": "a"}, headers=headers)
