"""Who is let in, with what, and how the API says no."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import pytest

from pyconnector.control.api.guard import FAILURE_WINDOW, MAX_ADDRESSES, MAX_BODY, MAX_FAILURES, Failures

if TYPE_CHECKING:
    from tests.control.support import Mesh


async def test_no_valid_token_no_answer(mesh: Mesh) -> None:
    path = f"{mesh.account}/cfd_tunnel"
    for given in ("", "Bearer", "Bearer wrong", f"Basic {mesh.token}", "Bearer " + "x" * 5000, mesh.token):
        error = await mesh.refused(403, "GET", path, headers={"Authorization": given})
        assert error["code"] == 10000
    # Not in the address, where logs would keep it.
    await mesh.refused(403, "GET", path, params={"token": mesh.token}, headers={"Authorization": ""})
    assert await mesh.call("GET", path, headers={"Authorization": f"bearer {mesh.token}"}) == []


async def test_a_form_is_told_what_to_send(mesh: Mesh) -> None:
    error = await mesh.refused(400, "POST", f"{mesh.account}/cfd_tunnel", data={"name": "as curl -d sends it"})
    assert "Content-Type: application/json" in error["message"]


@pytest.mark.parametrize("scope", ["tunnels:read", "tunnels:edit", "dns:read", "networks:edit", "audit:read"])
async def test_a_token_may_do_what_its_scope_says(mesh: Mesh, scope: str) -> None:
    made = await mesh.call("POST", "/user/tokens", json={"name": "limited", "scopes": [scope]})
    headers = {"Authorization": f"Bearer {made['value']}"}
    day = {"since": "2020-01-01", "before": "2100-01-01"}
    asked = {
        "tunnels:read": ("GET", f"{mesh.account}/cfd_tunnel", {}),
        "tunnels:edit": ("POST", f"{mesh.account}/cfd_tunnel", {"json": {"name": "t"}}),
        "dns:read": ("GET", f"{mesh.zone}/dns_records", {}),
        "networks:edit": ("POST", f"{mesh.account}/teamnet/virtual_networks", {"json": {"name": "v"}}),
        "audit:read": ("GET", f"{mesh.account}/logs/audit", {"params": day}),
        "tokens:edit": ("GET", "/user/tokens", {}),
    }
    allowed = {scope, "tunnels:read"} if scope == "tunnels:edit" else {scope}
    for needed, (method, path, options) in asked.items():
        if needed in allowed:
            await mesh.call(method, path, headers=headers, **options)
        else:
            error = await mesh.refused(403, method, path, headers=headers, **options)
            assert needed in error["message"]
    response = await mesh.client.get(f"{mesh.plane.url}/edge/v1/snapshot", headers=headers)
    assert response.status_code == 403


async def test_nobody_hands_out_more_than_they_have(mesh: Mesh) -> None:
    made = await mesh.call("POST", "/user/tokens", json={"name": "maker", "scopes": ["tokens:edit"]})
    headers = {"Authorization": f"Bearer {made['value']}"}
    body = {"name": "greedy", "scopes": ["tunnels:read"]}
    await mesh.refused(400, "POST", "/user/tokens", json=body, headers=headers)
    await mesh.refused(400, "POST", "/user/tokens", json={"name": "edge", "scopes": ["edge"]})
    await mesh.refused(400, "POST", "/user/tokens", json={"name": "none", "scopes": []})
    await mesh.refused(400, "POST", "/user/tokens", json={"name": "odd", "scopes": ["everything"]})


async def test_a_token_ends_when_deleted_or_expired(mesh: Mesh) -> None:
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=2)
    body = {"name": "short", "scopes": ["tunnels:read"], "expires_on": soon.isoformat()}
    short = await mesh.call("POST", "/user/tokens", json=body)
    long = await mesh.call("POST", "/user/tokens", json={"name": "long", "scopes": ["tunnels:read"]})
    tokens = {made["name"]: {"Authorization": f"Bearer {made['value']}"} for made in (short, long)}
    assert (await mesh.call("GET", "/user/tokens/verify", headers=tokens["long"]))["id"] == long["id"]
    await mesh.call("DELETE", f"/user/tokens/{long['id']}")
    await mesh.refused(403, "GET", "/user/tokens/verify", headers=tokens["long"])
    while datetime.datetime.now(datetime.UTC) < soon:
        import asyncio

        await asyncio.sleep(0.05)
    await mesh.refused(403, "GET", "/user/tokens/verify", headers=tokens["short"])
    listed = await mesh.call("GET", "/user/tokens")
    assert short["value"] not in str(listed)


async def test_another_account_is_refused(mesh: Mesh) -> None:
    await mesh.refused(403, "GET", f"/accounts/{'0' * 32}/cfd_tunnel")
    await mesh.refused(404, "GET", f"/zones/{'0' * 32}/dns_records")


async def test_what_is_not_there_is_404_with_a_sentence(mesh: Mesh) -> None:
    for path in ("/", "/nothing", f"{mesh.account}/load_balancers", f"{mesh.account}/cfd_tunnel/"):
        assert "docs/mesh.md" in (await mesh.refused(404, "GET", path))["message"]
    await mesh.refused(405, "PUT", f"{mesh.account}/cfd_tunnel")
    await mesh.refused(404, "GET", f"{mesh.account}/cfd_tunnel/00000000-0000-0000-0000-000000000001")
    await mesh.refused(400, "GET", f"{mesh.account}/cfd_tunnel/not-an-id")


async def test_a_body_is_bounded_and_json(mesh: Mesh) -> None:
    path = f"{mesh.account}/cfd_tunnel"
    headers = {"Content-Type": "application/json"}

    async def endless() -> Any:
        for _ in range(MAX_BODY // 65536 + 1):
            yield b" " * 65536

    await mesh.refused(413, "POST", path, content=b" " * (MAX_BODY + 1), headers=headers)
    await mesh.refused(413, "POST", path, content=endless(), headers=headers)
    for body in (b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"name": "t"} more'):
        await mesh.refused(400, "POST", path, content=body, headers=headers)
    assert await mesh.call("GET", path) == []


async def test_texts_of_a_query_are_checked(mesh: Mesh) -> None:
    for query in ("name=a%00b", "existed_at=yesterday", "is_deleted=perhaps", "uuid=", "status=fine"):
        await mesh.refused(400, "GET", f"{mesh.account}/cfd_tunnel?{query}")
    await mesh.refused(400, "GET", f"{mesh.zone}/dns_records?name=%00")
    await mesh.refused(400, "GET", f"{mesh.account}/logs/audit?since=2026-01-01&before=2026-01-02&actor=x")


async def test_the_openapi_page_is_there(mesh: Mesh) -> None:
    paths = (await mesh.client.get(f"{mesh.plane.url}/openapi.json")).json()["paths"]
    assert "/client/v4/accounts/{account_id}/cfd_tunnel" in paths


async def test_too_many_invalid_tokens_have_to_wait(mesh: Mesh) -> None:
    wrong = {"Authorization": "Bearer wrong"}
    for _ in range(MAX_FAILURES):
        await mesh.refused(403, "GET", "/user/tokens/verify", headers=wrong)
    await mesh.refused(429, "GET", "/user/tokens/verify", headers=wrong)
    # Whoever has a token is not kept out by a neighbour who has none.
    await mesh.call("GET", "/user/tokens/verify")


def test_failures_are_counted_for_a_while_and_for_so_many() -> None:
    failures = Failures()
    assert all(failures.count("a", 0.0) for _ in range(MAX_FAILURES))
    assert not failures.count("a", FAILURE_WINDOW - 1)
    assert failures.count("b", FAILURE_WINDOW - 1)
    assert failures.count("a", FAILURE_WINDOW)
    for number in range(MAX_ADDRESSES + 5):
        failures.count(str(number), 0.0)
    assert len(failures) == MAX_ADDRESSES
