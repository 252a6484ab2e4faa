"""Where the edge is looked up, as a user writes it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pyconnector.connector.api.errors import ConfigError
from pyconnector.connector.config import load_config
from pyconnector.connector.discovery import refresh
from pyconnector.connector.discovery.address_book import AddressBook, Region
from pyconnector.connector.discovery.places import PROVIDER, Discovery, parse_discovery
from pyconnector.connector.discovery.resolvers import NoAnswer, Target
from pyconnector.connector.discovery.srv_lookup import srv_name
from tests.connector.configs import RULES, write_config
from tests.support.houses.house import config_to


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("dns://10.0.0.1:5353", Discovery(server=("10.0.0.1", 5353))),
        ("dns://[::1]:53/mesh.example", Discovery(domain="mesh.example", server=("::1", 53))),
        ("mesh.example.", Discovery(domain="mesh.example")),
    ],
)
def test_a_server_or_a_domain_is_read(text: str, wanted: Discovery) -> None:
    assert parse_discovery(text) == wanted
    assert wanted.is_own
    assert not PROVIDER.is_own
    assert srv_name("us", wanted.domain).endswith(f"_us-v2-origintunneld._tcp.{wanted.domain}")


@pytest.mark.parametrize(
    "text",
    ["", "a b", "http://x:1", "dns://x", "dns://x:0", "dns://u@x:1", "dns://x:1?y", "dns://x:99999", "a..b"],
)
def test_what_is_neither_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="dns://HOST:PORT"):
        parse_discovery(text)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"edge-discovery": "http://x"}, "--edge-discovery: this is no address of a DNS server"),
        ({"edge-discovery": "mesh.example", "edge": ("h:1",)}, "nothing is looked up where edge is given"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, flags: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        load_config(str(write_config(tmp_path, RULES)), flags, environ={})


class Names:
    timeout = 5.0

    def __init__(self) -> None:
        self.hosts: list[str] = []
        self.asked = 0

    async def targets(self, name: str) -> list[Target]:
        self.asked += 1
        if not self.hosts:
            raise NoAnswer("it says nothing")
        return [Target(host, 7844) for host in self.hosts]

    async def addresses(self, host: str) -> list[str]:
        return [host]


async def test_edges_that_come_and_go_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refresh, "EVERY", 0.0)
    book = AddressBook([Region([("192.0.2.1", 7844)])], choose=lambda found: found[0], shared=True)
    assert book.take(0) == ("192.0.2.1", 7844)
    names = Names()
    edge = config_to(("192.0.2.1", 7844), None, [{"service": "hello_world"}]).edge
    following = asyncio.create_task(refresh.follow(edge, book, resolvers=[names]))
    while names.asked < 2:
        await asyncio.sleep(0)
    assert book.addresses == [("192.0.2.1", 7844)]  # with no answer it stays
    names.hosts = ["192.0.2.2", "192.0.2.3"]
    while len(book.addresses) < 2:
        await asyncio.sleep(0)
    assert book.take(0) == ("192.0.2.1", 7844)  # a connection keeps its address until it is lost
    assert book.rotate(0, now=0.0)
    assert book.take(0) == ("192.0.2.2", 7844)
    following.cancel()
    await asyncio.wait([following])
