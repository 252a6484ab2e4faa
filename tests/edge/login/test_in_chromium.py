"""The login in a real browser: cookies, redirects and content policy as a browser takes them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.identity.people import ANN, OTHER, PAGE, TOOL, open_hall
from tests.support.identity.provider import running_provider
from tests.support.services.chromium import running_chromium

if TYPE_CHECKING:
    from tests.support.services.chromium import Tab

CHROMIUM = shutil.which("chromium")
FIRM = "22222222-2222-4222-8222-222222222222"
FLAGS = ("--host-resolver-rules=MAP *.example.com 127.0.0.1", "--ignore-certificate-errors")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here: apt install chromium")


async def served(tab: Tab) -> Any:
    """What the service got of the request whose answer is shown."""
    await tab.until("document.body !== null && document.body.innerText.startsWith('{\"line\"')")
    return json.loads(str(await tab.run("document.body.innerText")))


async def email_of(tab: Tab) -> str:
    fields = {name.lower(): value for name, value in (await served(tab))["headers"]}
    assert "CF_" not in fields.get("cookie", "")
    return str(fields["cf-access-authenticated-user-email"])


async def send(tab: Tab, field: str, value: str) -> None:
    await tab.until(f"document.getElementById('{field}') !== null")
    await tab.run(f"document.getElementById('{field}').value = {json.dumps(value)}")
    await tab.run("document.querySelector('form').requestSubmit()")


async def test_a_person_logs_in_and_out_in_a_browser(tmp_path: Path) -> None:
    async with (
        running_provider() as provider, open_hall(tmp_path) as hall,
        running_chromium(str(CHROMIUM), tmp_path / "profile", *FLAGS) as tab,
    ):  # fmt: skip
        hall.provider(FIRM, "oidc", provider.config())
        port = hall.address[1]
        await tab.open(f"https://{TOOL}:{port}/deep?x=1")
        await tab.until(f"location.hostname === '{PAGE}'")
        assert await tab.run("getComputedStyle(document.querySelector('main')).borderRadius") == "14px"
        await send(tab, "email", ANN)
        await send(tab, "pin", "1234")
        await tab.until("document.querySelector('.problem') !== null")
        await send(tab, "pin", hall.sent()[-1]["pin"])
        await tab.until(f"location.href === 'https://{TOOL}:{port}/deep?x=1'")
        assert await email_of(tab) == ANN
        await tab.open(f"https://{OTHER}:{port}/")  # by the session, without a page
        assert await email_of(tab) == ANN
        assert await tab.run("document.cookie") == ""
        await tab.open(f"https://{OTHER}:{port}/cdn-cgi/access/logout")
        await tab.until(
            "document.querySelector('h1') && document.querySelector('h1').innerText === 'You are logged out'"
        )
        await tab.open(f"https://{TOOL}:{port}/")
        await tab.until("document.querySelector('a.button') !== null")
        await tab.run("document.querySelector('a.button').click()")
        assert await email_of(tab) == ANN
        told = json.loads(str(await tab.run("fetch('/cdn-cgi/access/get-identity').then(r => r.text())", waits=True)))
        assert told["idp"]["type"] == "oidc"
        # The refusal of the wrong code is an error of the page, the policy blocked nothing.
        assert [complaint for complaint in tab.complaints if "401" not in complaint] == []
