"""What people try against the login, and what comes of it (SECURITY.md)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.identity.agents import ACCOUNT
from tests.support.identity.people import ANN, BOB, OTHER, PAGE, PIN_PROVIDER, TOOL, Browser, Hall, form_of, open_hall
from tests.support.peers.raw_visitor import RawVisitor, get

BINDING, SESSION = "__Host-CF_Binding", "__Host-CF_Session"


async def to_code(hall: Hall, browser: Browser, host: str = TOOL) -> str:
    """Log in up to the code that the login page sends the browser back with."""
    page = await browser.follow(await browser.open(browser.url(host)))
    page = await browser.submit(page, email=ANN)
    back = await browser.submit(page, pin=hall.sent()[-1]["pin"])
    assert back.status_code == 302
    return str(back.headers["location"])


def reason(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["reason"]


async def test_a_login_ends_at_the_host_where_it_began(tmp_path: Path) -> None:
    async with open_hall(tmp_path) as hall, hall.browser() as browser:
        for target in ("//evil.example/", "/\\evil.example", "/%5cevil.example", "/?next=https://evil"):
            browser.cookies.clear()
            url = browser.url(TOOL, target) + "&redirect_url=https://evil.example/"
            page = await browser.follow(await browser.open(url))
            page = await browser.submit(page, email=ANN)
            code = await browser.submit(page, pin=hall.sent()[-1]["pin"])
            last = await browser.open(code.headers["location"])
            for response in (code, last):
                where = urlsplit(response.headers["location"])
                assert (where.scheme, where.netloc) == ("https", f"{TOOL}:{hall.address[1]}")


async def test_a_state_that_no_edge_sealed_leads_nowhere(tmp_path: Path) -> None:
    async with open_hall(tmp_path) as hall, hall.browser() as browser:
        led = (await browser.open(browser.url(TOOL))).headers["location"]
        for state in ("", "x", "https://evil.example", led.partition("state=")[2][:-2] + "AA"):
            page = await browser.open(browser.url(PAGE, f"/cdn-cgi/access/login?state={state}"))
            assert (page.status_code, "This login is over" in page.text) == (400, True)
            assert "__Host-CF_Login" not in browser.cookies.get(PAGE, {})
        # Sealed for another purpose: a code is no state.
        code = (await to_code(hall, browser)).partition("code=")[2]
        assert (await browser.open(browser.url(PAGE, f"/cdn-cgi/access/login?state={code}"))).status_code == 400


async def test_a_login_of_another_port_sends_nobody_there(tmp_path: Path) -> None:
    async with open_hall(tmp_path) as hall, hall.browser() as victim, hall.browser() as attacker:
        await hall.log_in(victim)
        led = await attacker.open(f"https://{TOOL}:1/")  # the edge is reached, the browser would name port 1
        state = led.headers["location"].partition("state=")[2]
        page = await victim.open(victim.url(PAGE, f"/cdn-cgi/access/login?state={state}"))
        assert (page.status_code, page.headers.get("location")) == (400, None)


async def test_nobody_is_logged_in_as_somebody_else(tmp_path: Path) -> None:
    async with open_hall(tmp_path) as hall, hall.browser() as attacker, hall.browser() as victim:
        code = await to_code(hall, attacker)
        await victim.open(victim.url(TOOL))  # a login of its own has begun here
        for browser_has_one in (True, False):
            refused = await victim.open(code)
            assert (refused.status_code, "not begun here" in refused.text) == (403, True)
            assert "CF_Authorization" not in victim.cookies.get(TOOL, {})
            if browser_has_one:
                victim.cookies.clear()
        # Nor at another host, though it is the browser that logged in.
        elsewhere = code.replace(TOOL, OTHER)
        assert (await attacker.open(elsewhere)).status_code == 400
        assert (await attacker.open(code)).status_code == 302


async def test_a_code_counts_once_and_for_a_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_hall(tmp_path) as hall, hall.browser() as browser:
        code = await to_code(hall, browser)
        kept = json.loads(json.dumps(browser.cookies))
        assert (await browser.open(code)).status_code == 302
        browser.cookies = kept
        assert (await browser.open(code)).status_code == 400
        late = (await browser.open((await browser.open(browser.url(OTHER))).headers["location"])).headers["location"]
        gate = hall.house.edge.gate
        now = gate.clock()
        monkeypatch.setattr(gate, "clock", lambda: now + 62)
        assert (await browser.open(late)).status_code == 400


async def test_a_planted_cookie_is_nobodys(tmp_path: Path) -> None:
    async with open_hall(tmp_path) as hall, hall.browser() as attacker, hall.browser() as victim:
        await hall.log_in(attacker)
        token, binding = attacker.cookies[TOOL]["CF_Authorization"], attacker.cookies[TOOL][BINDING]
        for planted in (
            {"CF_Authorization": token},
            {"CF_Authorization": token, "CF_Binding": binding},  # what a neighbouring host can set
            {"CF_Authorization": token, BINDING: "0" * 32},
        ):
            victim.cookies[TOOL] = dict(planted)
            assert reason(await victim.ask("GET", victim.url(TOOL))) == (401, "invalid_token")
            assert (await victim.open(victim.url(TOOL))).status_code == 302  # to a login of its own
        await hall.log_in(victim)
        victim.cookies[TOOL]["X"] = f"1; CF_Authorization={token}"  # beside its own
        assert reason(await victim.ask("GET", victim.url(TOOL))) == (401, "several_credentials")


async def test_another_site_can_press_no_button(tmp_path: Path) -> None:
    async with open_hall(tmp_path) as hall, hall.browser() as browser:
        page = await browser.follow(await browser.open(browser.url(TOOL)))
        action, hidden = form_of(page)
        url = browser.url(PAGE, action)
        for headers in (
            {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": browser.url(TOOL, "")},
            {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
        ):  # fmt: skip
            refused = await browser.ask("POST", url, headers, form=hidden | {"email": ANN})
            assert refused.status_code == 400
        for attempt in ("", "0" * 32):
            refused = await browser.ask("POST", url, form={"attempt": attempt, "email": ANN})
            assert refused.status_code == 400
        assert hall.sent() == []
        await hall.log_in(browser)
        logout = browser.url(TOOL, "/cdn-cgi/access/logout")
        asked = await browser.open(logout, {"Sec-Fetch-Site": "cross-site"})
        assert (asked.status_code, "Another site sent you here" in asked.text) == (200, True)
        assert (await browser.ask("POST", logout, {"Sec-Fetch-Site": "cross-site"})).status_code == 403
        assert (await browser.ask("GET", browser.url(TOOL))).status_code == 200


async def test_tokens_of_one_kind_are_not_taken_for_another(tmp_path: Path) -> None:
    async with open_hall(tmp_path) as hall, hall.browser() as browser, hall.browser() as other:
        await hall.log_in(browser)
        session, token = browser.cookies[PAGE][SESSION], browser.cookies[TOOL]["CF_Authorization"]
        for wrong in (session, token):
            for headers in ({"Cf-Access-Token": wrong}, {"Authorization": f"Bearer {wrong}"}):
                found = await other.ask("GET", other.url(OTHER), headers)
                assert reason(found) == (401, "invalid_token")
        assert (await other.ask("GET", other.url(TOOL), {"Cf-Access-Token": token})).status_code == 200
        other.cookies[PAGE] = {SESSION: token}
        assert "E-mail address" in (await other.follow(await other.open(other.url(OTHER)))).text
        # What a browser sends by itself is not exchanged for what counts without it.
        narrowed = browser.url(TOOL, "/cdn-cgi/access/session?methods=GET")
        assert (await browser.ask("POST", narrowed)).status_code == 401


async def test_names_are_text_on_every_page(tmp_path: Path) -> None:
    script = "<script>alert(1)</script>"

    async with open_hall(tmp_path) as hall, hall.browser() as browser:
        hall.world.application(script, TOOL, policies=["people"])
        organization = {"auth_domain": PAGE, "deny_unmatched": False, "name": script, "session_seconds": 60.0}
        hall.world.put("access_organization", ACCOUNT, organization)
        hall.world.state.drop("access_application", "tool")
        page = await browser.follow(await browser.open(browser.url(TOOL)))
        pages = [page, await browser.submit(page, email=script), await browser.submit(page, email=ANN)]
        await browser.follow(await browser.submit(pages[-1], pin=hall.sent()[-1]["pin"]))
        hall.world.policy("people", "allow", include=[{"email": {"email": BOB}}])
        pages.append(await browser.open(browser.url(TOOL)))
        for shown in pages:
            assert "&lt;script&gt;" in shown.text
            assert "<script" not in shown.text
            policy = shown.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "script-src" not in policy
            assert "frame-ancestors 'none'" in policy
            assert shown.headers["x-frame-options"] == "DENY"
            assert shown.headers["cache-control"] == "no-store"


def revoked(hall: Hall) -> None:
    value = {"email": ANN, "valid_after": hall.house.edge.gate.clock() + 1}
    hall.world.put("access_user", "u", value)


@pytest.mark.parametrize(
    "happens",
    [
        revoked,
        lambda hall: hall.world.policy("people", "allow", include=[{"email": {"email": BOB}}]),
        lambda hall: hall.world.state.drop("access_identity_provider", PIN_PROVIDER),
        lambda hall: hall.world.application("tool", TOOL, policies=["people"], valid_after=2.0**40),
    ],
    ids=["user revoked", "policy changed", "provider deleted", "tokens of the application revoked"],
)
async def test_what_runs_under_a_person_ends_with_what_let_it_in(
    tmp_path: Path, happens: Callable[[Hall], object]
) -> None:
    async with open_hall(tmp_path) as hall, hall.browser() as browser:
        await hall.log_in(browser)
        token = browser.cookies[TOOL]["CF_Authorization"]
        upgrade = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
        key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
        async with RawVisitor(hall.house.edge.visitor_address) as visitor:
            visitor.send(get("/", TOOL, *upgrade, key, f"Cf-Access-Token: {token}"))
            assert (await visitor.head()).status == 101
            visitor.send(b"still here")
            assert await visitor.reader.readexactly(10) == b"still here"
            happens(hall)
            async with asyncio.timeout(20):
                try:
                    assert await visitor.reader.read() == b""
                except ConnectionError:
                    pass
        assert (await browser.ask("GET", browser.url(TOOL))).status_code in (401, 403)
