"""The page of the control plane: signed in by a token, changed by nobody else's page, escaped, and live."""

from __future__ import annotations

import asyncio
import contextlib
import html
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from pyconnector.control.api.guard import MAX_FAILURES, MAX_FORM
from pyconnector.control.page.sessions import COOKIE, LIFETIME, MAX_SESSIONS, Sessions
from tests.control.support import Mesh, open_mesh
from tests.control.test_quick import held, report

CHROMIUM = shutil.which("chromium")


@contextlib.asynccontextmanager
async def browser(mesh: Mesh, token: str | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """A client that keeps cookies and, with a token, is signed in."""
    async with httpx.AsyncClient(base_url=mesh.plane.url, timeout=30) as client:
        if token is not None:
            answer = await client.post("/ui/sign-in", data={"token": token})
            assert (answer.status_code, answer.headers["location"]) == (303, "/ui")
        yield client


async def form_key(client: httpx.AsyncClient) -> str:
    found = re.search(r'name="form_key" value="([^"]+)"', (await client.get("/ui")).text)
    assert found is not None
    return found[1]


async def test_everything_there_is_is_shown_to_who_is_signed_in(mesh: Mesh) -> None:
    made = await mesh.tunnel("<b>bold</b>")
    await mesh.call("PUT", f"{mesh.zone}/tunnels/{made['id']}/routes",
                    json={"type": "dns", "user_hostname": "app"})  # fmt: skip
    await mesh.call("POST", f"{mesh.account}/teamnet/routes",
                    json={"network": "10.9.0.0/16", "tunnel_id": made["id"]})  # fmt: skip
    async with mesh.edge() as edge, browser(mesh) as stranger, browser(mesh, mesh.token) as client:
        await edge.post("/report", json=report(connections=[held(made["id"])]))
        page = (await client.get("/ui")).text
        live = (await client.get("/ui/live")).text
        for text in (page, live):
            for shown in ("&lt;b&gt;bold", "app.example.com", "10.9.0.0/16", "127.0.0.1:7844", "healthy", "lab"):
                assert shown in text, shown
            assert "<b>bold" not in text
        assert made["token"] not in page
        assert "app.example.com" not in (await stranger.get("/ui")).text
        assert (await stranger.get("/ui/live")).status_code == 403


async def test_a_tunnel_is_made_and_its_run_line_shown_once(mesh: Mesh) -> None:
    async with mesh.edge() as edge, browser(mesh, mesh.token) as client:
        await edge.post("/report", json=report())
        fields = {"form_key": await form_key(client), "name": "home", "hostname": "home"}
        page = html.unescape((await client.post("/ui/tunnels", data=fields)).text)
        (made,) = await mesh.call("GET", f"{mesh.account}/cfd_tunnel")
        token = await mesh.call("GET", f"{mesh.account}/cfd_tunnel/{made['id']}/token")
        assert f"TUNNEL_TOKEN={token} pyconnector run --edge 127.0.0.1:7844" in page
        assert "home.example.com" in page
        assert token not in (await client.get("/ui")).text
        twice = await client.post("/ui/tunnels", data=fields)
        assert (twice.status_code, "already have a tunnel" in twice.text) == (400, True)


async def test_who_may_pass_and_who_asked_is_shown_escaped_and_without_secrets(mesh: Mesh) -> None:
    access = f"{mesh.account}/access"
    token = await mesh.call("POST", f"{access}/service_tokens", json={
        "name": "<i>agent</i>", "role": "reader", "labels": ["team=data"]})  # fmt: skip
    off = await mesh.call("POST", f"{access}/service_tokens", json={"name": "off", "enabled": False})
    policy = await mesh.call("POST", f"{access}/policies", json={
        "name": "agents", "decision": "non_identity", "include": [{"service_token": {"token_id": token["id"]}}],
        "exclude": [{"ip": {"ip": "192.0.2.0/24"}}]})  # fmt: skip
    await mesh.call("POST", f"{access}/apps", json={
        "name": "tool", "type": "self_hosted", "domain": "tool.example.com/x",
        "policies": [policy["id"]]})  # fmt: skip
    record = {
        "Datetime": "2027-01-15T08:00:00.250Z", "Protocol": "HTTP", "HTTPMethod": "GET", "HTTPHost": "a.test",
        "URL": "/<script>alert(1)</script>", "HTTPStatusCode": 403, "Allowed": False, "SourceIP": "192.0.2.9",
        "Reason": "no_policy_matched", "ServiceTokenName": "agent-07", "ColoName": "lab",
    }  # fmt: skip
    reader = await mesh.call("POST", "/user/tokens", json={"name": "r", "scopes": ["tunnels:read"]})
    async with mesh.edge() as edge, browser(mesh, mesh.token) as client, browser(mesh, reader["value"]) as other:
        later = record | {"Datetime": "2027-01-15T08:00:01.000Z", "URL": "/later"}
        answer = await edge.post("/report", json=report(records=[record, later]))
        assert answer.status_code == 200
        page = (await client.get("/ui/live")).text
        for shown in (
            "&lt;i&gt;agent&lt;/i&gt;", "reader", "team=data", "disabled", token["client_id"], "non_identity",
            "any of service token &lt;i&gt;agent&lt;/i&gt;", "but not ip 192.0.2.0/24", "tool.example.com/x",
            "GET a.test/&lt;script&gt;alert(1)", "no_policy_matched", "agent-07", "2027-01-15 08:00:00.250",
        ):  # fmt: skip
            assert shown in page, shown
        assert page.index("/later") < page.index("/&lt;script")
        for hidden in ("<i>agent", "<script>", token["client_secret"], off["client_secret"]):
            assert hidden not in page
        # Whose token is not for it sees none of it.
        for text in ((await other.get("/ui/live")).text, (await other.get("/ui")).text):
            assert "Last requests" not in text
            assert "Service tokens" not in text
            assert "agent-07" not in text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Host": "rebound.example"}, 421),
        ({"Content-Type": "text/plain"}, 415),
        ({}, 403),
    ],
)
async def test_a_page_of_others_changes_nothing(mesh: Mesh, headers: dict[str, str], status: int) -> None:
    async with browser(mesh, mesh.token) as client:
        fields = {"name": "theirs", "form_key": await form_key(client) if headers else "guessed"}
        assert (await client.post("/ui/tunnels", data=fields, headers=headers)).status_code == status
        assert await mesh.call("GET", f"{mesh.account}/cfd_tunnel") == []


async def test_a_session_ends_with_its_token_or_by_signing_out(mesh: Mesh) -> None:
    made = await mesh.call("POST", "/user/tokens", json={"name": "short", "scopes": ["tunnels:read"]})
    async with browser(mesh, made["value"]) as client, browser(mesh, mesh.token) as other:
        page = (await client.get("/ui")).text
        assert "New tunnel" not in page
        assert "Hostnames" not in page
        fields = {"name": "t", "form_key": await form_key(client)}
        assert (await client.post("/ui/tunnels", data=fields)).status_code == 403
        await mesh.call("DELETE", f"/user/tokens/{made['id']}")
        assert (await client.get("/ui/live")).status_code == 403
        cookie = other.cookies[COOKIE]
        await other.post("/ui/sign-out", data={"form_key": await form_key(other)})
        other.cookies.set(COOKIE, cookie)
        assert (await other.get("/ui/live")).status_code == 403


async def test_the_cookie_is_for_this_site_and_no_script(mesh: Mesh) -> None:
    async with browser(mesh) as client:
        answer = await client.post("/ui/sign-in", data={"token": mesh.token})
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert mesh.token.lower() not in cookie
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy


async def test_guessing_tokens_is_slowed_down_and_forms_are_bounded(mesh: Mesh) -> None:
    async with browser(mesh) as client:
        big = await client.post("/ui/sign-in", data={"token": "x" * MAX_FORM})
        assert big.status_code == 413
        codes = {(await client.post("/ui/sign-in", data={"token": "x"})).status_code for _ in range(MAX_FAILURES)}
        assert codes == {403}
        assert (await client.post("/ui/sign-in", data={"token": "x"})).status_code == 429


def test_sessions_are_bounded_and_end_by_themselves() -> None:
    sessions = Sessions()
    first = sessions.begin("digest", 0.0)
    assert sessions.find(first, LIFETIME - 1) is not None
    assert sessions.find(first, LIFETIME) is None
    for _ in range(MAX_SESSIONS + 5):
        sessions.begin("digest", 0.0)
    assert len(sessions) == MAX_SESSIONS


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here: apt install chromium")
async def test_a_real_browser_shows_it_and_keeps_it_live(tmp_path: Path) -> None:
    """Chromium is driven over its debugging protocol: sign in, create, and see what happens elsewhere."""

    from tests.support.services.chromium import Tab, running_chromium

    async with open_mesh(tmp_path / "data") as mesh, mesh.edge() as edge:
        await edge.post("/report", json=report())
        async with running_chromium(str(CHROMIUM), tmp_path / "profile") as tab:
            assert isinstance(tab, Tab)
            await tab.open(mesh.plane.url + "/")
            await tab.run(f"document.querySelector('#token').value = {mesh.token!r}")
            await tab.run("document.querySelector('form button').click()")
            await tab.until("document.body.innerText.includes('New tunnel')")
            await tab.run("document.querySelector('[name=name]').value = 'from a browser'")
            await tab.run("document.querySelector('[name=hostname]').value = 'seen'")
            await tab.run("document.querySelector('form.row button').click()")
            await tab.until("!!document.querySelector('#run-line')")
            line = await tab.run("document.querySelector('#run-line').textContent")
            assert str(line).startswith("TUNNEL_TOKEN=")
            (made,) = await mesh.call("GET", f"{mesh.account}/cfd_tunnel")
            await tab.until("document.body.innerText.includes('seen.example.com')")
            assert await tab.run("document.body.innerText.includes('inactive')")
            await edge.post("/report", json=report(connections=[held(made["id"])]))
            reporting = asyncio.create_task(_report(edge, made["id"]))
            try:
                # By itself, without a reload.
                await tab.until("document.body.innerText.includes('healthy')")
                await mesh.call("POST", f"{mesh.account}/access/service_tokens", json={"name": "<b>agent-09</b>"})
                asked = {
                    "Datetime": "2027-01-15T08:00:00.250Z", "HTTPMethod": "GET", "HTTPHost": "live.test",
                    "URL": "/<img src=x onerror=alert(1)>", "HTTPStatusCode": 403, "Allowed": False,
                }  # fmt: skip
                await edge.post("/report", json=report(connections=[held(made["id"])], records=[asked]))
                await tab.until("document.body.innerText.includes('live.test/<img src=x')")
                await tab.until("document.body.innerText.includes('<b>agent-09</b>')")
                assert await tab.run("document.querySelectorAll('img').length") == 0
                assert await tab.run("getComputedStyle(document.querySelector('.verdict.block')).fontWeight") == "600"
                await tab.screenshot(tmp_path / "page.png")
            finally:
                reporting.cancel()
            assert tab.complaints == []


async def _report(edge: httpx.AsyncClient, tunnel_id: str) -> None:
    while True:
        await edge.post("/report", json=report(connections=[held(tunnel_id)]))
        await asyncio.sleep(1)
