"""Where people may log in: behind a proxy that ends TLS, and at several applications of one host."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from pyconnector.edge.access.credentials import read_credentials
from pyconnector.edge.cli_settings import proxy_networks
from pyconnector.edge.settings import SettingsError
from pyconnector.edge.visitors.proxies import MAX_HOPS, TrustedProxies
from tests.support.identity.people import ANN, NAVIGATION, TOOL, Browser, open_hall

PROXIES = TrustedProxies([ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")])


@pytest.mark.parametrize(
    ("proto", "hops", "told"),
    [
        ([b"https"], [b"203.0.113.9"], ("https", "203.0.113.9")),
        ([b"HTTPS"], [b"1.2.3.4, 203.0.113.9"], ("https", "203.0.113.9")),  # what the visitor said of itself is first
        ([b"http"], [b"203.0.113.9, 10.1.1.1"], ("http", "203.0.113.9")),  # by two proxies
        ([], [b"203.0.113.9"], ("http", "203.0.113.9")),
        ([b"https", b"http"], [b"203.0.113.9"], ("http", "203.0.113.9")),
        ([b"https,http"], [], ("http", "10.0.0.1")),
        ([b"https"], [b"203.0.113.9", b"2001:db8::5"], ("https", "203.0.113.9")),
        ([b"https"], [b"203.0.113.9, unknown"], ("https", "10.0.0.1")),
        ([b"https"], [b"203.0.113.9, " + b"10.0.0.2," * MAX_HOPS + b"10.0.0.2"], ("https", "10.0.0.1")),
        ([b"https"], [b"1.2.3.4, 203.0.113.9:443"], ("https", "203.0.113.9")),
        ([b"https"], [b"[2001:DB9::1]:65535, [2001:db8::5]"], ("https", "2001:db9::1")),
        ([b"https"], [b"1.2.3.4, [2001:db9::1"], ("https", "10.0.0.1")),
        ([b"https"], [b"1.2.3.4, " + b"0" * 50 + b":1"], ("https", "10.0.0.1")),
        ([b"https"], [b"10.0.0.2"], ("https", "10.0.0.1")),
    ],
)
def test_a_proxys_word_is_read_strictly(proto: list[bytes], hops: list[bytes], told: tuple[str, str]) -> None:
    headers = [*((b"x-forwarded-proto", value) for value in proto), *((b"X-Forwarded-For", value) for value in hops)]
    assert PROXIES.told(headers, "10.0.0.1") == told


def test_only_the_named_networks_are_proxies() -> None:
    assert [PROXIES.trusts(text) for text in ("10.9.9.9", "::ffff:10.0.0.1", "11.0.0.1", "", "2001:db9::1")] == [
        True, True, False, False, False,
    ]  # fmt: skip
    assert not TrustedProxies([]).trusts("10.0.0.1")
    for text, told in (("0.0.0.0/0", "everybody"), ("::/0", "everybody"), ("10.0.0.1/8", "no network")):
        with pytest.raises(SettingsError, match=told):
            proxy_networks([text])


@pytest.mark.parametrize("http2", [False, True])
async def test_people_log_in_behind_a_proxy_that_ends_tls(tmp_path: Path, http2: bool) -> None:
    async with open_hall(tmp_path, proxies="127.0.0.1") as hall:
        async with Browser(hall.house.edge.visitor_address, http2=http2, proxy=True) as browser:
            served = await hall.log_in(browser)  # each cookie is Secure, and has the prefix that it had over TLS
        headers = {name.lower(): value for name, value in served.json()["headers"]}
        assert headers["cf-access-authenticated-user-email"] == ANN
        assert (headers["cf-connecting-ip"], headers["x-forwarded-proto"]) == ("198.51.100.7", "https")
        assert headers["x-forwarded-for"] == "198.51.100.7, 127.0.0.1"


@pytest.mark.parametrize("http2", [False, True])
async def test_what_anybody_says_of_tls_does_not_count(tmp_path: Path, http2: bool) -> None:
    async with open_hall(tmp_path, proxies="192.0.2.1") as hall:
        async with Browser(hall.house.edge.visitor_address, http2=http2, proxy=True) as browser:
            assert (await browser.open(browser.url(TOOL))).status_code == 401


async def test_applications_of_one_host_share_no_cookie(tmp_path: Path) -> None:
    async with open_hall(tmp_path) as hall, hall.browser() as browser:
        hall.world.application("admin", f"{TOOL}/admin", policies=["people"])
        assert (await hall.log_in(browser)).status_code == 200
        # The session at the login page opens the other one without a page; and then both are open.
        assert (await browser.follow(await browser.open(browser.url(TOOL, "/admin")))).status_code == 200
        for path in ("/", "/admin", "/", "/admin/x"):
            assert (await browser.open(browser.url(TOOL, path))).status_code == 200
        jar = browser.cookies[TOOL]
        tokens = [name for name in jar if name.startswith("CF_Authorization")]
        assert len(tokens) == 2
        assert len({name.rpartition("_")[2] for name in tokens}) == 2
        served = await browser.open(browser.url(TOOL, "/admin"))
        assert "CF_" not in dict(served.json()["headers"]).get("cookie", "")
        # One is not good in the place of the other.
        jar[tokens[0]], jar[tokens[1]] = jar[tokens[1]], jar[tokens[0]]
        assert (await browser.ask("GET", browser.url(TOOL, "/admin"))).status_code == 401
        jar[tokens[0]], jar[tokens[1]] = jar[tokens[1]], jar[tokens[0]]
        out = await browser.ask("POST", browser.url(TOOL, "/cdn-cgi/access/logout"), NAVIGATION)
        assert out.status_code == 200
        assert not any(name.startswith(("CF_", "__Host-CF_Binding")) for name in browser.cookies[TOOL])


def test_no_service_is_shown_a_token_in_whatever_spelling_of_its_cookie() -> None:
    cookies = b"CF_Authorization_0123=a; cf_authorization_0123=b; CF_AUTHORIZATION=c; CF_Binding_0123=d; own=e"
    shown = read_credentials([(b"cookie", cookies)], (), lambda _: True)
    assert shown.headers == [(b"cookie", b"own=e")]


async def test_a_cookie_counts_when_its_host_gets_a_second_application(tmp_path: Path) -> None:
    async with open_hall(tmp_path) as hall, hall.browser() as browser:
        await hall.log_in(browser)
        hall.world.application("admin", f"{TOOL}/admin", policies=["people"])
        assert (await browser.ask("GET", browser.url(TOOL))).status_code == 200
        assert (await browser.ask("GET", browser.url(TOOL, "/admin"))).status_code == 401
