"""People who log in at an edge: a browser with cookies of its own, and an edge with a login page over TLS."""

from __future__ import annotations

import contextlib
import html
import json
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from pyconnector.edge import CertificatePair, EdgeSettings, VisitorSettings
from pyconnector.edge.access.login.login import Login
from pyconnector.edge.access.login.sinks import PinSettings
from pyconnector.edge.cli_settings import proxy_networks
from pyconnector.transport.tls.certificates import make_authority
from tests.support.houses.house import House, open_house, tunnel
from tests.support.identity.agents import ACCOUNT, World, telling_origin

TOOL, OTHER, PAGE = "tool.example.com", "other.example.com", "access.example.com"
ANN, BOB = "ann@example.com", "bob@example.net"
PIN_PROVIDER = "11111111-1111-4111-8111-111111111111"
NAVIGATION = {
    "Accept": "text/html,application/xhtml+xml", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document",
}  # fmt: skip


@cache
def _certificate() -> tuple[bytes, bytes]:
    return make_authority("people").issue([TOOL, OTHER, PAGE])


class Browser:
    """Keeps cookies for each host as browsers do, and follows nothing by itself."""

    def __init__(
        self, address: tuple[str, int], *, http2: bool = False, secure: bool = True, proxy: bool = False
    ) -> None:
        """With `proxy` TLS is ended by one, which asks the edge in the clear."""
        self._address, self._proxy = address, proxy
        self._scheme = "https" if secure else "http"
        self.client = httpx.AsyncClient(verify=False, http1=not http2, http2=http2, trust_env=False, timeout=30)
        self.cookies: dict[str, dict[str, str]] = {}
        self.site: str | None = None
        "The origin of the page that is shown."

    async def __aenter__(self) -> Browser:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.aclose()

    def url(self, host: str, path: str = "/") -> str:
        return f"{self._scheme}://{host}:{self._address[1]}{path}"

    async def ask(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, *, form: dict[str, str] | None = None
    ) -> httpx.Response:
        parts = urlsplit(url)
        host = parts.hostname or ""
        fields = {"Host": parts.netloc, **(headers or {})}
        if self._proxy:
            fields |= {"X-Forwarded-Proto": self._scheme, "X-Forwarded-For": "198.51.100.7"}
        if jar := self.cookies.get(host):
            fields["Cookie"] = "; ".join(f"{name}={value}" for name, value in jar.items())
        target = f"{'http' if self._proxy else self._scheme}://{self._address[0]}:{self._address[1]}{parts.path or '/'}"
        target += f"?{parts.query}" if parts.query else ""
        extensions = {"sni_hostname": host} if self._scheme == "https" and not self._proxy else {}
        response = await self.client.request(method, target, headers=fields, data=form, extensions=extensions)
        self.client.cookies.clear()  # its own know one host only, the address
        for text in response.headers.get_list("set-cookie"):
            self._keep(host, text)
        return response

    async def open(self, url: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
        """Navigate, without following."""
        return await self.ask("GET", url, {**NAVIGATION, **(headers or {})})

    async def follow(self, response: httpx.Response) -> httpx.Response:
        """Follow redirects to their end."""
        for _ in range(8):
            if response.status_code != 302:
                return response
            response = await self.open(response.headers["location"])
        raise AssertionError("a circle")

    async def submit(self, page: httpx.Response, host: str = PAGE, **fields: str) -> httpx.Response:
        """Send the form of a page, without following."""
        action, hidden = form_of(page)
        headers = {**NAVIGATION, "Origin": self.url(host, ""), "Sec-Fetch-Site": "same-origin"}
        return await self.ask("POST", self.url(host, action), headers, form=hidden | fields)

    def _keep(self, host: str, text: str) -> None:
        pair, *flags = [part.strip() for part in text.split(";")]
        name, _, value = pair.partition("=")
        assert "HttpOnly" in flags
        assert "SameSite=Lax" in flags
        assert "Path=/" in flags
        assert not any(flag.lower().startswith("domain") for flag in flags)
        secure = self._scheme == "https"
        assert "Secure" in flags or not secure
        assert name.startswith("__Host-") == (secure and not name.startswith("CF_Authorization"))
        jar = self.cookies.setdefault(host, {})
        if "Max-Age=0" in flags:
            jar.pop(name, None)
        else:
            jar[name] = value


def form_of(page: httpx.Response) -> tuple[str, dict[str, str]]:
    action = re.search(r'<form method="post" action="([^"]+)"', page.text)
    assert action is not None, page.text
    hidden = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page.text)
    return html.unescape(action[1]), {name: html.unescape(value) for name, value in hidden}


@dataclass
class Hall:
    """An edge where people log in, with an application for TOOL."""

    house: House
    world: World
    login: Login
    pins: Path
    application: dict[str, Any] = field(default_factory=dict)

    @property
    def address(self) -> tuple[str, int]:
        found = self.house.edge.visitor_tls_address
        assert found is not None
        return found

    def browser(self, **options: Any) -> Browser:
        return Browser(self.address, **options)

    def sent(self) -> list[dict[str, Any]]:
        """The PINs that were sent."""
        return [json.loads(line) for line in self.pins.read_text().splitlines()] if self.pins.exists() else []

    def provider(self, provider_id: str, kind: str, config: dict[str, Any], name: str = "Firm") -> None:
        self.world.put("access_identity_provider", provider_id, {"name": name, "type": kind, "config": config})

    async def log_in(self, browser: Browser, email: str = ANN, host: str = TOOL, path: str = "/") -> httpx.Response:
        """Log in by a PIN; the answer is that of the service."""
        page = await browser.follow(await browser.open(browser.url(host, path)))
        page = await browser.submit(page, email=email)
        assert page.status_code == 200, page.text
        return await browser.follow(await browser.submit(page, pin=self.sent()[-1]["pin"]))


@contextlib.asynccontextmanager
async def open_hall(directory: Path, *, proxies: str = "") -> AsyncIterator[Hall]:
    """Serve TOOL and OTHER, to people of example.com alone, by a PIN."""
    chain, key = _certificate()
    pair = CertificatePair(certificate=directory / "page.pem", key=directory / "page.key")
    pair.certificate.write_bytes(chain)
    pair.key.write_bytes(key)
    pair.key.chmod(0o600)
    visitors = VisitorSettings(
        tls_address=("127.0.0.1", 0), certificates=(pair,), trusted_proxies=proxy_networks([proxies] if proxies else [])
    )
    settings = EdgeSettings(tunnels=(tunnel(),), visitors=visitors)
    async with telling_origin() as origin, open_house([{"service": origin}], settings=settings) as house:
        gate = house.edge.gate
        world = World(gate.state)
        pins = directory / "pins"
        login = gate.login = Login(gate, PinSettings("file", (str(pins),)))
        organization = {
            "auth_domain": PAGE, "deny_unmatched": False, "name": "Example & Sons", "session_seconds": 3600.0,
        }  # fmt: skip
        world.put("access_organization", ACCOUNT, organization)
        hall = Hall(house, world, login, pins)
        hall.provider(PIN_PROVIDER, "onetimepin", {}, "PIN")
        people = world.policy("people", "allow", include=[{"email_domain": {"domain": "example.com"}}])
        world.application("tool", TOOL, policies=[people])
        world.application("other", OTHER, policies=[people])
        try:
            yield hall
        finally:
            await login.close()
