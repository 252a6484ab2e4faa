"""The login by a certified OpenID provider that nobody here wrote: the npm package `oidc-provider`.

Needs node, and PYCONNECTOR_OIDC_PROVIDER to name a folder in which `npm install oidc-provider` was run.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import json
import os
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest

from tests.support.identity.people import ANN, PAGE, TOOL, Browser, open_hall

MODULES = os.environ.get("PYCONNECTOR_OIDC_PROVIDER", "")
NODE = shutil.which("node")
SCRIPT = Path(__file__).parents[2] / "support" / "certified_provider.mjs"
FIRM = "22222222-2222-4222-8222-222222222222"

pytestmark = [
    pytest.mark.reference,
    pytest.mark.skipif(
        not MODULES or NODE is None, reason="PYCONNECTOR_OIDC_PROVIDER names no oidc-provider, or no node"
    ),
]


@contextlib.asynccontextmanager
async def certified(redirect: str) -> AsyncIterator[str]:
    settings = {"modules": MODULES, "client": "mesh", "secret": "s/e+c r", "redirect": redirect}
    process = await asyncio.create_subprocess_exec(
        str(NODE), str(SCRIPT), json.dumps(settings), stdout=asyncio.subprocess.PIPE, stderr=-3
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            yield (await process.stdout.readline()).decode().strip()
    finally:
        process.kill()
        await process.communicate()


async def interact(url: str, until: str) -> str:
    """Log in at the provider and consent, as a person would; where the browser is sent then."""
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        response = await client.get(url)
        for _ in range(12):
            if response.is_redirect:
                url = urljoin(str(response.url), response.headers["location"])
                if url.startswith(until):
                    return url
                response = await client.get(url)
                continue
            assert response.status_code == 200, response.text
            action = re.search(r'action="([^"]+)"', response.text)
            assert action is not None
            fields = dict(re.findall(r'name="(prompt)" value="([^"]*)"', response.text))
            fields |= {"login": "ann", "password": "x"} if 'name="login"' in response.text else {}
            response = await client.post(urljoin(str(response.url), html.unescape(action[1])), data=fields)
    raise AssertionError("a circle")


async def log_in(browser: Browser, until: str) -> httpx.Response:
    await browser.follow(await browser.open(browser.url(TOOL, "/x")))
    away = await browser.open(browser.url(PAGE, f"/cdn-cgi/access/login-start?idp={FIRM}"))
    assert away.status_code == 302, away.text
    return await browser.follow(await browser.open(await interact(away.headers["location"], until)))


async def test_a_certified_provider_logs_people_in(tmp_path: Path) -> None:
    async with open_hall(tmp_path) as hall, hall.browser() as browser:
        redirect = browser.url(PAGE, "/cdn-cgi/access/callback")
        async with certified(redirect) as issuer:
            config = {"issuer_url": issuer, "client_id": "mesh", "client_secret": "s/e+c r"}
            hall.provider(FIRM, "oidc", config)
            served = await log_in(browser, redirect)
            fields = {name.lower(): value for name, value in served.json()["headers"]}
            assert fields["cf-access-authenticated-user-email"] == ANN
            hall.provider(FIRM, "oidc", config | {"client_secret": "another"})
            browser.cookies.clear()
            assert (await log_in(browser, redirect)).status_code == 502
