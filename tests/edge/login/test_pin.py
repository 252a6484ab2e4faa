"""People log in by a one-time PIN: over TLS, through a real connector, to a real service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pyconnector.edge.access.login.pins import MAX_FOR_ADDRESS, MAX_GUESSES, Pins
from pyconnector.identity.access_token import AccessPolicy, parse_keys, verify
from tests.support.identity.people import ANN, BOB, OTHER, PAGE, PIN_PROVIDER, TOOL, Browser, open_hall


def headers_of(body: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in body["headers"]}


@pytest.mark.parametrize("http2", [False, True])
async def test_a_person_logs_in_and_the_service_learns_who_it_is(tmp_path: Path, http2: bool) -> None:
    async with open_hall(tmp_path) as hall, hall.browser(http2=http2) as browser:
        first = await browser.open(browser.url(TOOL, "/deep?x=1"))
        assert first.status_code == 302
        assert first.headers["location"].startswith(browser.url(PAGE, f"/cdn-cgi/access/login/{TOOL}?kid="))
        page = await browser.follow(first)
        assert "Example &amp; Sons" in page.text
        assert "Log in to tool" in page.text
        page = await browser.submit(page, email="Ann@Example.com")
        (sent,) = hall.sent()
        assert (sent["email"], sent["application"], len(sent["pin"])) == (ANN, "tool", 6)
        assert sent["pin"] not in page.text
        served = await browser.follow(await browser.submit(page, pin=sent["pin"]))
        told = served.json()
        assert told["line"] == "GET /deep?x=1 HTTP/1.1"
        headers = headers_of(told)
        assert headers["cf-access-authenticated-user-email"] == ANN
        assert "CF_" not in headers.get("cookie", "")
        issuer = hall.house.edge.gate.issuer
        assert issuer is not None
        audience = hall.world.state.applications.of_host(TOOL)[0].audience
        policy = AccessPolicy(issuer=f"https://{PAGE}", keys_url="", audiences=frozenset((audience,)))
        found = verify(
            headers["cf-access-jwt-assertion"].encode(), policy=policy, keys=parse_keys(issuer.document),
            now=hall.house.edge.gate.clock(),
        )  # fmt: skip
        assert (found.kind, found.name) == ("user", ANN)


async def test_a_session_opens_further_applications_without_a_page(tmp_path: Path) -> None:
    async with open_hall(tmp_path) as hall, hall.browser() as browser:
        await hall.log_in(browser)
        served = await browser.follow(await browser.open(browser.url(OTHER, "/x")))
        assert served.json()["line"] == "GET /x HTTP/1.1"
        assert len(hall.sent()) == 1
        for host in (TOOL, PAGE):
            told = (await browser.ask("GET", browser.url(host, "/cdn-cgi/access/get-identity"))).json()
            assert (told["email"], told["idp"]) == (ANN, {"id": PIN_PROVIDER, "type": "onetimepin"})


PROGRAMS: list[dict[str, str]] = [
        {"Accept": "application/json"}, {"Accept": "*/*"}, {},
        {"Accept": "text/html", "X-Requested-With": "XMLHttpRequest"},
        {"Accept": "text/html", "Sec-Fetch-Mode": "cors"},
        {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
        {"Accept": "text/html", "CF-Access-Client-Id": "x", "CF-Access-Client-Secret": "y"},
]  # fmt: skip


async def test_programs_are_refused_by_status_and_never_redirected(tmp_path: Path) -> None:
    async with open_hall(tmp_path) as hall, hall.browser() as browser:
        asked = [("GET", fields) for fields in PROGRAMS] + [("POST", PROGRAMS[3] | {"X-Requested-With": ""})]
        for method, fields in asked:
            found = await browser.ask(method, browser.url(TOOL), fields)
            assert found.status_code == 401
            assert found.json()["error"] == "access_denied"
            assert "location" not in found.headers
            assert "set-cookie" not in found.headers


async def test_nobody_learns_who_may_log_in(tmp_path: Path) -> None:
    async with open_hall(tmp_path) as hall:
        pages = []
        for email in (ANN, BOB):
            async with hall.browser() as browser:
                page = await browser.follow(await browser.open(browser.url(TOOL)))
                page = await browser.submit(page, email=email)
                attempt = page.text.partition('name="attempt" value="')[2][:32]
                nonce = page.text.partition('nonce="')[2][:32]
                text = page.text.replace(email, "?").replace(attempt, "?").replace(nonce, "?")
                pages.append((page.status_code, text))
        assert pages[0] == pages[1]
        assert [sent["email"] for sent in hall.sent()] == [ANN]


async def test_a_person_whom_the_policy_does_not_name_is_told_so(tmp_path: Path) -> None:
    async with open_hall(tmp_path) as hall, hall.browser() as browser:
        await hall.log_in(browser)
        hall.world.policy("people", "allow", include=[{"email": {"email": BOB}}])
        page = await browser.open(browser.url(TOOL))
        assert page.status_code == 403
        assert f"You are logged in as {ANN}" in page.text
        program = await browser.ask("GET", browser.url(TOOL))
        assert (program.status_code, program.json()["reason"]) == (403, "no_policy_matched")


async def test_a_wrong_code_may_be_tried_a_few_times_and_a_right_one_counts_once(tmp_path: Path) -> None:
    async with open_hall(tmp_path) as hall, hall.browser() as browser, hall.browser() as second:
        start = await browser.follow(await browser.open(browser.url(TOOL)))
        page = await browser.submit(start, email=ANN)
        pin = hall.sent()[-1]["pin"]
        wrong = f"{(int(pin) + 1) % 10**6:06d}"
        second.cookies = json.loads(json.dumps(browser.cookies))
        for _ in range(MAX_GUESSES - 1):
            refused = await browser.submit(page, pin=wrong)
            assert refused.status_code == 401
            assert "That is not the code" in refused.text
        served = await browser.submit(page, pin=f"{pin[:3]} {pin[3:]}")
        assert served.status_code == 302
        again = await second.submit(page, pin=pin)
        assert again.status_code == 429  # nor with one guess left:
        hall.login.pins._guesses._counts.clear()
        assert (await second.submit(page, pin=pin)).status_code == 400


async def test_guessing_a_pin_ends_after_a_few_guesses_in_every_way(tmp_path: Path) -> None:
    async with open_hall(tmp_path) as hall, hall.browser() as browser:
        start = await browser.follow(await browser.open(browser.url(TOOL)))
        page = await browser.submit(start, email=ANN)
        pin = hall.sent()[-1]["pin"]
        wrong = f"{(int(pin) + 1) % 10**6:06d}"
        for _ in range(MAX_GUESSES):
            await browser.submit(page, pin=wrong)
        assert (await browser.submit(page, pin=pin)).status_code == 429
        for _ in range(MAX_FOR_ADDRESS - 1):  # a fresh code for each few guesses, and then no more codes
            start = await browser.follow(await browser.open(browser.url(TOOL)))
            assert (await browser.submit(start, email=ANN)).status_code == 200
        start = await browser.follow(await browser.open(browser.url(TOOL)))
        assert (await browser.submit(start, email=ANN)).status_code == 429
        assert len(hall.sent()) == MAX_FOR_ADDRESS


async def test_a_pin_is_good_in_the_browser_that_asked_for_it_alone(tmp_path: Path) -> None:
    async with open_hall(tmp_path) as hall, hall.browser() as browser, hall.browser() as thief:
        page = await browser.submit(await browser.follow(await browser.open(browser.url(TOOL))), email=ANN)
        own = await thief.submit(await thief.follow(await thief.open(thief.url(TOOL))), email=BOB)
        pin = hall.sent()[-1]["pin"]
        assert (await thief.submit(page, pin=pin)).status_code == 400
        assert (await thief.submit(own, pin=pin)).status_code == 401


async def test_a_code_that_is_old_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_hall(tmp_path) as hall, hall.browser() as browser:
        page = await browser.submit(await browser.follow(await browser.open(browser.url(TOOL))), email=ANN)
        gate = hall.house.edge.gate
        now = gate.clock()
        monkeypatch.setattr(gate, "clock", lambda: now + 601)
        assert (await browser.submit(page, pin=hall.sent()[-1]["pin"])).status_code == 400


async def test_a_form_that_is_too_large_or_none_is_refused(tmp_path: Path) -> None:
    for http2 in (False, True):
        async with open_hall(tmp_path) as hall, hall.browser(http2=http2) as browser:
            page = await browser.follow(await browser.open(browser.url(TOOL)))
            assert (await browser.submit(page, email="a" * 8000)).status_code == 413
            url = browser.url(PAGE, "/cdn-cgi/access/login-pin")
            doubled = await browser.client.post(
                f"https://127.0.0.1:{hall.address[1]}/cdn-cgi/access/login-pin", content=b"email=a&email=b",
                headers={"Host": f"{PAGE}:{hall.address[1]}"}, extensions={"sni_hostname": PAGE},
            )  # fmt: skip
            assert doubled.status_code == 400
            assert (await browser.ask("GET", url)).status_code == 405
            bad = await browser.submit(page, email="nobody")
            assert (bad.status_code, "That is no e-mail address" in bad.text) == (400, True)


async def test_where_nobody_could_be_sent_a_pin_nobody_is_led_to_a_login(tmp_path: Path) -> None:
    async with open_hall(tmp_path) as hall, hall.browser() as browser:
        hall.login.sink = None
        assert (await browser.open(browser.url(TOOL))).status_code == 401


async def test_no_cookie_travels_in_the_clear(tmp_path: Path) -> None:
    async with open_hall(tmp_path) as hall:
        async with Browser(hall.house.edge.visitor_address, secure=False) as browser:
            refused = await browser.open(browser.url(TOOL))
            assert (refused.status_code, refused.headers.get("set-cookie")) == (401, None)
            page = await browser.open(browser.url(PAGE, "/cdn-cgi/access/login?state=x"))
            assert page.status_code == 403
            hall.world.application("tool", "tool.localhost", policies=["people"])
            led = await browser.open(browser.url("tool.localhost"))
            assert led.status_code == 302  # within this machine it may


async def test_logging_out_anywhere_ends_the_session_everywhere(tmp_path: Path) -> None:
    async with open_hall(tmp_path) as hall, hall.browser() as browser, hall.browser() as copy:
        for host in (TOOL, PAGE):
            await hall.log_in(browser)
            await browser.follow(await browser.open(browser.url(OTHER)))
            copy.cookies = json.loads(json.dumps(browser.cookies))
            page = await browser.open(browser.url(host, "/cdn-cgi/access/logout"))
            assert (page.status_code, "You are logged out" in page.text) == (200, True)
            assert "CF_Authorization" not in browser.cookies[host]
            for stolen in (TOOL, OTHER):
                found = await copy.ask("GET", copy.url(stolen))
                assert (found.status_code, found.json()["reason"]) == (401, "revoked")
            page = await copy.follow(await copy.open(copy.url(OTHER)))
            assert "E-mail address" in page.text
            _, ended = hall.world.state.news.take()
            assert len(ended) == 1
            browser.cookies.clear()


async def test_guesses_at_several_edges_count_together(tmp_path: Path) -> None:
    async with open_hall(tmp_path) as hall, hall.browser() as browser:
        counted: dict[str, int] = {}

        async def ask(key: str, limit: int, seconds: int) -> bool:
            counted[key] = counted.get(key, 0) + 1
            return counted[key] <= limit

        hall.login.shared.ask = ask
        page = await browser.submit(await browser.follow(await browser.open(browser.url(TOOL))), email=ANN)
        pin = hall.sent()[-1]["pin"]
        wrong = f"{(int(pin) + 1) % 10**6:06d}"
        for _ in range(MAX_GUESSES):
            hall.login.pins = Pins()  # each at an edge that knows of none yet
            assert (await browser.submit(page, pin=wrong)).status_code == 401
        hall.login.pins = Pins()
        assert (await browser.submit(page, pin=pin)).status_code == 429
        assert not any(ANN in key or pin in key for key in counted)


async def test_a_pin_is_used_once_at_all_edges_together(tmp_path: Path) -> None:
    async with open_hall(tmp_path) as hall, hall.browser() as browser:
        counted: list[str] = []

        async def ask(key: str, limit: int, seconds: int) -> bool:
            counted.append(key)
            return counted.count(key) <= limit

        hall.login.shared.ask = ask
        page = await browser.submit(await browser.follow(await browser.open(browser.url(TOOL))), email=ANN)
        pin, cookies = hall.sent()[-1]["pin"], json.loads(json.dumps(browser.cookies))
        assert (await browser.submit(page, pin=pin)).status_code == 302
        browser.cookies = cookies
        hall.login.pins = Pins()  # at an edge that knows nothing of it
        assert (await browser.submit(page, pin=pin)).status_code == 400


async def test_a_pin_of_another_edge_counts_nowhere_while_nobody_can_be_asked(tmp_path: Path) -> None:
    async with open_hall(tmp_path) as hall, hall.browser() as browser:

        async def ask(key: str, limit: int, seconds: int) -> None:
            return None

        hall.login.shared.ask = ask
        page = await browser.submit(await browser.follow(await browser.open(browser.url(TOOL))), email=ANN)
        own, hall.login.shared.edge = hall.login.shared.edge, "another"
        assert (await browser.submit(page, pin=hall.sent()[-1]["pin"])).status_code == 429
        hall.login.shared.edge = own
        assert (await browser.submit(page, pin=hall.sent()[-1]["pin"])).status_code == 302
