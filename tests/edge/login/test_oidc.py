"""People log in by an OpenID provider: one in this process, right and wrong, and a certified one where node is."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from pyconnector.edge.access.login.counts import Counts
from pyconnector.edge.access.login.provider_client import ASK_AGAIN
from tests.support.identity.people import ANN, OTHER, PAGE, TOOL, Browser, Hall, open_hall
from tests.support.identity.provider import CLIENT, Provider, new_key, running_provider

FIRM = "22222222-2222-4222-8222-222222222222"
CALLBACK = "/cdn-cgi/access/callback"


@contextlib.asynccontextmanager
async def scene(directory: Path) -> AsyncIterator[tuple[Hall, Provider, Browser]]:
    async with running_provider() as provider, open_hall(directory) as hall, hall.browser() as browser:
        hall.provider(FIRM, "oidc", provider.config())
        yield hall, provider, browser


async def to_provider(browser: Browser, host: str = TOOL) -> str:
    """Choose the firm; where the browser is sent."""
    page = await browser.follow(await browser.open(browser.url(host)))
    assert "Continue with Firm" in page.text
    away = await browser.open(browser.url(PAGE, f"/cdn-cgi/access/login-start?idp={FIRM}"))
    assert away.status_code == 302, away.text
    return str(away.headers["location"])


async def back(browser: Browser, provider: Provider) -> httpx.Response:
    return await browser.open(provider.approve(await to_provider(browser)))


def email_at(served: httpx.Response) -> str:
    fields = {name.lower(): value for name, value in served.json()["headers"]}
    return str(fields["cf-access-authenticated-user-email"])


async def test_a_person_logs_in_by_a_provider(tmp_path: Path) -> None:
    async with scene(tmp_path) as (hall, provider, browser):
        served = await browser.follow(await back(browser, provider))
        assert email_at(served) == ANN
        told = (await browser.ask("GET", browser.url(TOOL, "/cdn-cgi/access/get-identity"))).json()
        assert (told["name"], told["idp"]) == ("Ann", {"id": FIRM, "type": "oidc"})
        assert provider.asked == ["/.well-known/openid-configuration", "/token", "/keys"]
        # The next person costs the provider one question, and the page may be left out.
        provider.in_id_token = False
        app = hall.world.state.applications.of_host(OTHER)[0]
        hall.world.application(
            app.name, OTHER, policies=["people"], allowed_idps=[FIRM], auto_redirect_to_identity=True
        )
        async with hall.browser() as second:
            led = await second.open(second.url(OTHER))
            away = await second.open(led.headers["location"])
            served = await second.follow(await second.open(provider.approve(away.headers["location"])))
            assert email_at(served) == ANN
        assert provider.asked[3:] == ["/token", "/me"]


async def test_new_keys_of_a_provider_are_fetched_when_a_token_names_one(tmp_path: Path) -> None:
    async with scene(tmp_path) as (hall, provider, browser):
        ticks = hall.login.client._ticks
        assert (await back(browser, provider)).status_code == 302
        for passed, fits in ((0.0, False), (11.0, True)):  # at most every ten seconds
            browser.cookies.clear()
            provider.keys = [new_key(f"after {passed}", "RSA")]
            hall.login.client._ticks = lambda passed=passed: ticks() + passed  # type: ignore[misc]
            found = await back(browser, provider)
            assert (found.status_code == 302) is fits


WRONG: dict[str, dict[str, Any]] = {
    "another issuer": {"change": lambda claims: claims | {"iss": "http://127.0.0.1:1"}},
    "another client": {"change": lambda claims: claims | {"aud": "other"}},
    "several audiences without a party": {"change": lambda claims: claims | {"aud": [CLIENT, "other"]}},
    "another party": {"change": lambda claims: claims | {"azp": "other"}},
    "a nonce of another attempt": {"change": lambda claims: claims | {"nonce": "x"}},
    "no nonce": {"change": lambda claims: {name: claims[name] for name in claims if name != "nonce"}},
    "expired": {"change": lambda claims: claims | {"exp": claims["iat"] - 100}},
    "issued in the future": {"change": lambda claims: claims | {"iat": claims["iat"] + 1000}},
    "no dates": {"change": lambda claims: claims | {"exp": "1"}},
    "no signature": {"header": {"alg": "none"}},
    "a signature by the public key": {"header": {"alg": "HS256"}},
    "an algorithm of another key": {"header": {"alg": "RS256"}},
    "an unknown key": {"header": {"kid": "other"}},
    "extensions": {"header": {"crit": ["b64"], "b64": True}},
    "an address that is not verified": {"person": {"sub": "1", "email": ANN, "email_verified": False}},
    "an address nobody speaks for": {"person": {"sub": "1", "email": ANN}},
    "an address that looks like another": {
        "person": {"sub": "1", "email": "\u0430nn@example.com", "email_verified": True}
    },
    "no address": {"person": {"sub": "1"}},
    "userinfo of somebody else": {"in_id_token": False, "about": {"sub": "2", "email": ANN, "email_verified": True}},
    "an address of the userinfo that only the ID token calls verified": {
        "in_id_token": False, "change": lambda claims: claims | {"email_verified": True},
        "about": {"sub": "1", "email": ANN, "email_verified": False},
    },
    "a token endpoint that fails": {"broken": "/token"},
    "a key set that fails": {"broken": "/keys"},
}  # fmt: skip


async def test_a_provider_that_is_not_right_lets_nobody_in(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with scene(tmp_path) as (hall, provider, browser):
        right = dict(vars(provider))
        for what, wrong in WRONG.items():
            vars(provider).update(right | wrong)
            browser.cookies.clear()
            await hall.login.close()  # nothing is known of it
            with caplog.at_level(logging.WARNING, "pyconnector.edge.login"):
                found = await back(browser, provider)
            assert (found.status_code, "Firm did not say who you are" in found.text) == (502, True), what
            assert "Nobody could be logged in by Firm" in caplog.text, what
            assert ANN not in caplog.text
            caplog.clear()
            assert not browser.cookies[PAGE].get("__Host-CF_Session"), what
        vars(provider).update(right)
        browser.cookies.clear()
        await hall.login.close()
        assert (await back(browser, provider)).status_code == 302


@pytest.mark.parametrize(
    "metadata",
    [{"issuer": "https://other.example.com"}, {"token_endpoint": "http://192.0.2.1/"}, {"jwks_uri": None}],
)
async def test_metadata_that_leads_elsewhere_is_refused(tmp_path: Path, metadata: dict[str, Any]) -> None:
    async with scene(tmp_path) as (_, provider, browser):
        provider.metadata = metadata
        await browser.follow(await browser.open(browser.url(TOOL)))
        failed = await browser.open(browser.url(PAGE, f"/cdn-cgi/access/login-start?idp={FIRM}"))
        assert failed.status_code == 502


async def test_an_answer_belongs_to_the_attempt_that_asked_and_counts_once(tmp_path: Path) -> None:
    async with scene(tmp_path) as (hall, provider, browser), hall.browser() as victim:
        # Login CSRF: the answer to the attacker's attempt, opened in another browser.
        answer = provider.approve(await to_provider(browser))
        assert (await victim.open(answer)).status_code == 400
        await to_provider(victim)
        assert (await victim.open(answer)).status_code == 400
        # A code of somebody else's, put into one's own answer: PKCE and nonce belong to the attempt.
        stolen = provider.approve(await to_provider(browser), code="stolen")
        own = provider.approve(await to_provider(victim))
        mixed = own.partition("code=")[0] + "code=stolen&" + own.partition("&")[2]
        assert (await victim.open(mixed)).status_code == 502
        assert (await browser.open(stolen)).status_code == 502  # the code is spent
        async with hall.browser() as other:
            away = await to_provider(other)
            kept = dict(other.cookies[PAGE])
            assert (await other.open(provider.approve(away))).status_code == 302
            other.cookies[PAGE] = kept
            # Of a provider that takes a code twice: the state counts once.
            assert (await other.open(provider.approve(away))).status_code == 400
        async with hall.browser() as other:
            asked: list[str] = []

            async def ask(key: str, limit: int, seconds: int) -> bool:
                asked.append(key.partition(":")[0])
                return False

            hall.login.shared.ask = ask  # it was used at another edge
            assert (await back(other, provider)).status_code == 400
            assert asked == ["state"]
            hall.login.shared.ask = None
        # An answer that another provider signs for (RFC 9207).
        answer = provider.approve(await to_provider(browser))
        assert (await browser.open(answer + "&iss=https%3A%2F%2Fother.example.com")).status_code == 502


async def test_nobody_makes_an_edge_ask_a_provider_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene(tmp_path) as (hall, provider, browser):
        provider.broken = "/.well-known/openid-configuration"
        await browser.follow(await browser.open(browser.url(TOOL)))
        start = browser.url(PAGE, f"/cdn-cgi/access/login-start?idp={FIRM}")
        assert [(await browser.open(start)).status_code for _ in range(3)] == [502] * 3
        assert provider.asked == [provider.broken]
        ticks = hall.login.client._ticks
        hall.login.client._ticks = lambda: ticks() + ASK_AGAIN
        provider.broken = "/token"
        monkeypatch.setattr(hall.login, "answers", Counts(2, 60.0))
        found = [await browser.open(provider.approve((await browser.open(start)).headers["location"])) for _ in "abc"]
        assert [response.status_code for response in found] == [502, 502, 429]
        assert provider.asked.count("/token") == 2


async def test_a_provider_that_does_not_answer_holds_nobody_else_up(tmp_path: Path) -> None:
    async with scene(tmp_path) as (hall, provider, browser), hall.browser() as second:
        provider.hangs = "/token"
        answer = provider.approve(await to_provider(browser))
        waiting = asyncio.ensure_future(browser.open(answer))
        while "/token" not in provider.asked:
            await asyncio.sleep(0)
        assert (await hall.log_in(second)).status_code == 200
        waiting.cancel()
        await asyncio.wait([waiting])
