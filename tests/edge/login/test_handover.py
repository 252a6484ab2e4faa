"""A program is let in by a person: `access login` against an edge where people log in, and what must not pass."""

from __future__ import annotations

import asyncio
import base64
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

from pyconnector.agent.access.dial import client_context
from pyconnector.agent.access.login import Login
from pyconnector.agent.access.pages import Pages
from pyconnector.agent.access.place import connect_to, parse_place
from pyconnector.agent.access.token_store import TokenStore
from pyconnector.edge.access.login.handover import MAX_WAITING, WAITING_SECONDS, Handovers
from tests.support.identity.people import ANN, OTHER, PAGE, TOOL, Browser, Hall, open_hall

if TYPE_CHECKING:
    import httpx

pytest.importorskip("nacl", reason="the extra `access` is not installed")


def client_of(hall: Hall, folder: Path) -> tuple[Any, Login]:
    port = hall.address[1]
    place = connect_to(parse_place(f"https://{TOOL}:{port}"), f"{TOOL}:{port}:127.0.0.1")
    pages = Pages(client_context(place, None), "tests")
    return place, Login(pages=pages, clock=hall.house.edge.gate.clock, store=TokenStore(folder / "tokens"))


def address_of(hall: Hall, key: str = "", host: str = TOOL) -> str:
    key = key or base64.urlsafe_b64encode(os.urandom(32)).decode()
    audience = hall.world.state.applications.of_host(TOOL)[0].audience
    query = urlencode({"aud": audience, "token": key, "edge_token_transfer": "true"})
    return f"https://{host}:{hall.address[1]}/cdn-cgi/access/cli?{query}"


async def asked(hall: Hall, browser: Browser, url: str) -> httpx.Response:
    """What somebody is asked who opens the address of a program and logs in."""
    page = await browser.follow(await browser.open(url))
    if "Log in to" in page.text:
        page = await browser.submit(page, email=ANN)
        page = await browser.follow(await browser.submit(page, pin=hall.sent()[-1]["pin"]))
    assert f"Let a program in as {ANN}?" in page.text
    return page


async def test_a_person_lets_a_program_in(tmp_path: Path) -> None:
    async with open_hall(tmp_path) as hall, hall.browser() as browser:
        loop = asyncio.get_running_loop()
        place, login = client_of(hall, tmp_path)
        shown: list[tuple[str, str]] = []

        async def person() -> None:
            page = await asked(hall, browser, shown[0][0])
            assert f"shows the code {shown[0][1]}." in page.text
            assert "The program is in" in (await browser.submit(page, TOOL)).text

        def work() -> str:
            application, kept = login.find(place)
            assert kept == ""
            wait = lambda seconds: asyncio.run_coroutine_threadsafe(person(), loop).result(30)  # noqa: E731
            token = login.by_browser(place, application, lambda *what: shown.append(what), wait)
            assert login.is_valid(place, token)
            assert login.find(place)[1] == token
            return token

        token = await asyncio.to_thread(work)
        shows = {"Cf-Access-Token": token}
        async with hall.browser() as program:
            served = await program.ask("GET", program.url(TOOL, "/x"), shows)
            assert served.json()["line"] == "GET /x HTTP/1.1"
            # It is for this application, and worth nothing as a cookie.
            assert (await program.ask("GET", program.url(OTHER), shows)).status_code == 401
            cookie = {"Cookie": f"CF_Authorization={token}"}
            assert (await program.ask("GET", program.url(TOOL), cookie)).status_code == 401
            assert len(hall.login.handovers) == 0
            await browser.ask("POST", browser.url(PAGE, "/cdn-cgi/access/logout"), {"Sec-Fetch-Site": "same-origin"})
            assert (await program.ask("GET", program.url(TOOL), shows)).status_code == 401


async def test_only_the_browser_that_was_asked_can_say_yes(tmp_path: Path) -> None:
    async with open_hall(tmp_path) as hall, hall.browser() as browser, hall.browser() as other:
        page = await asked(hall, browser, address_of(hall))
        await hall.log_in(other)
        assert "This login is over" in (await other.submit(page, TOOL)).text
        action = page.text.partition('action="')[2].partition('"')[0].replace("&amp;", "&")
        for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            answer = await browser.ask("POST", browser.url(TOOL, action), headers)
            assert answer.status_code == 400
        for grant in ("", "x", action.partition("grant=")[2][:-5]):
            answer = await browser.ask("POST", browser.url(TOOL, f"/cdn-cgi/access/cli?grant={grant}"))
            assert answer.status_code == 400
        async with hall.browser() as nobody:
            assert (await nobody.ask("POST", nobody.url(TOOL, action))).status_code == 400
        assert len(hall.login.handovers) == 0


async def test_a_person_who_may_not_pass_any_more_lets_nobody_in(tmp_path: Path) -> None:
    async with open_hall(tmp_path) as hall, hall.browser() as browser:
        page = await asked(hall, browser, address_of(hall))
        hall.world.policy("people", "allow", include=[{"email": {"email": "other@example.com"}}])
        answer = await browser.submit(page, TOOL)
        assert answer.status_code == 403
        assert len(hall.login.handovers) == 0


async def test_addresses_that_no_program_shows_are_refused(tmp_path: Path) -> None:
    async with open_hall(tmp_path) as hall, hall.browser() as browser:
        good = address_of(hall)
        for url in (address_of(hall, "short"), good.replace("aud=", "aud=x"), address_of(hall, host=OTHER)):
            assert (await browser.open(url)).status_code == 400
        assert (await browser.ask("HEAD", good)).status_code == 405
        assert (await browser.ask("GET", browser.url(TOOL, "/cdn-cgi/access/transfer/x"))).status_code == 404


def test_what_waits_is_fetched_once_and_bounded() -> None:
    waiting, now = Handovers(), time.monotonic()
    assert waiting.put("a", b"public", b"sealed", now)
    assert waiting.take("a", now) == (b"public", b"sealed")
    assert waiting.take("a", now) is None
    assert all(waiting.put(str(number), b"", b"", now) for number in range(MAX_WAITING))
    assert not waiting.put("one more", b"", b"", now)
    assert waiting.take("1", now + WAITING_SECONDS) is None
    assert waiting.put("later", b"", b"", now + WAITING_SECONDS)
    assert len(waiting) == 1
