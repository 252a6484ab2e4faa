"""What the provider's DNS switches for an account, and what becomes of answers that are none."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from pyconnector.connector.config import ConnectorConfig
from pyconnector.connector.config.model import EdgeConfig
from pyconnector.connector.discovery import remote_switches
from pyconnector.connector.discovery.remote_switches import (
    FEATURES,
    MAX_TEXT,
    PROTOCOLS,
    Switches,
    bucket,
    follow_switches,
    look_up_switches,
    parse_features,
    parse_protocols,
    switches_for,
)
from pyconnector.connector.discovery.resolvers import SystemResolver
from pyconnector.connector.link.edge_connection import with_datagram_v3
from pyconnector.connector.link.protocol_choice import choice_for
from tests.connector.configs import RULES, load, token
from tests.support.houses.house import credentials
from tests.support.services.dns_server import DnsServer, Zone, dns_server

ACCOUNT = "123456"


def test_accounts_fall_into_hundredths_as_at_the_reference() -> None:
    assert bucket(ACCOUNT) == 74


@pytest.mark.parametrize(
    ("text", "protocol"),
    [
        ('[{"protocol":"quic","percentage":100},{"protocol":"http2","percentage":100}]', "quic"),
        ('[{"protocol":"QUIC","percentage":74},{"protocol":"http2","percentage":75}]', "http2"),
        ('[{"protocol":"quic","percentage":75}]', "quic"),
        ('[{"protocol":"quic","percentage":0}]', "quic"),
        ('[{"protocol":"h3","percentage":100},7,{"protocol":"http2","percentage":true}]', "quic"),
        ("[]", "quic"),
    ],
)
def test_the_first_protocol_whose_share_covers_the_account_is_taken(text: str, protocol: str) -> None:
    assert parse_protocols(text, bucket(ACCOUNT)) == protocol


def test_features_are_switched_by_share() -> None:
    assert parse_features('{"dv3_2": 75, "other": []}', 74) == (True, False)
    assert parse_features('{"dv3_2": 74, "skip_prechecks": true}', 74) == (False, True)
    assert parse_features("{}", 0) == (False, False)


@pytest.mark.parametrize("text", ["", "x", "7", "[" * 3000, " " * (MAX_TEXT + 1), '{"dv3_2": "all"}'])
def test_what_says_nothing_is_an_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever it says, defaults hold
        parse_features(text, 0)
    if text != '{"dv3_2": "all"}':
        with pytest.raises(ValueError):  # noqa: PT011
            parse_protocols(text, 0)


async def with_zone(records: dict[str, list[str]], scenario: Callable[[DnsServer], Coroutine[Any, Any, None]]) -> None:
    zone = Zone({(name, "TXT"): texts for name, texts in records.items()})
    async with dns_server(zone) as server:
        await scenario(server)


async def test_records_are_looked_up_and_put_together() -> None:
    async def scenario(server: DnsServer) -> None:
        found = await look_up_switches(ACCOUNT, SystemResolver(server.resolver))
        assert found == Switches(protocol="http2", datagram_v3=True, skip_prechecks=True)

    http2 = r'"[{\"protocol\":\"http2\"," "\"percentage\":100}]"'
    features = r'"{\"dv3_2\":100,\"skip_prechecks\":true}"'
    await with_zone({PROTOCOLS: [http2], FEATURES: [features]}, scenario)


async def test_defaults_hold_where_dns_says_nothing_or_nonsense(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(server: DnsServer) -> None:
        assert await look_up_switches(ACCOUNT, SystemResolver(server.resolver)) == Switches()
        server.silent = True
        monkeypatch.setattr(remote_switches, "TIMEOUT", 0.1)
        assert await look_up_switches(ACCOUNT, SystemResolver(server.resolver)) == Switches()

    await with_zone({PROTOCOLS: ["nonsense"], FEATURES: ["nonsense"]}, nothing)


def config(**edge: Any) -> ConnectorConfig:
    return ConnectorConfig(credentials=credentials(), edge=EdgeConfig(**edge))


@pytest.mark.parametrize(
    ("edge", "asked"),
    [
        ({"remote_switches": True}, True),
        ({}, False),
        ({"remote_switches": True, "addresses": ("127.0.0.1:1",)}, False),
    ],
)
async def test_dns_is_asked_for_the_edge_of_the_provider_alone(
    edge: dict[str, Any], asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look_up(account_tag: str) -> Switches:
        return Switches(datagram_v3=True)

    monkeypatch.setattr(remote_switches, "look_up_switches", look_up)
    assert (await switches_for(config(**edge))).datagram_v3 is asked


@pytest.mark.parametrize(
    ("edge", "protocol"),
    [
        ({}, "http2"),
        ({"protocol": "quic"}, "quic"),
        ({"remote_protocol": False}, "quic"),
    ],
)
def test_auto_begins_as_the_provider_wants_but_for_tokens(edge: dict[str, Any], protocol: str) -> None:
    choice = choice_for(config(**edge), [("192.0.2.1", 7844)], Switches(protocol="http2"))
    assert choice.protocol(0) == protocol


@pytest.mark.parametrize("edge", [{"protocol": "quic"}, {"remote_protocol": False}, {}])
def test_what_the_provider_wants_later_holds_for_the_next_attempts(edge: dict[str, Any]) -> None:
    choice = choice_for(config(**edge), [("192.0.2.1", 7844)], Switches())
    found = []
    for protocol in ("http2", "quic"):
        choice.told(protocol)
        found.append(choice.protocol(0))
    assert found == (["quic", "quic"] if edge else ["http2", "quic"])


async def test_what_is_not_said_any_more_stays_as_it_was() -> None:
    known = Switches(protocol="http2", datagram_v3=True, skip_prechecks=True)

    async def scenario(server: DnsServer) -> None:
        assert await look_up_switches(ACCOUNT, SystemResolver(server.resolver), before=known) == known

    await with_zone({PROTOCOLS: ["nonsense"]}, scenario)


@pytest.mark.usefixtures("virtual_time")
@pytest.mark.parametrize(("random", "every"), [(0.0, 3240.0), (0.5, 3600.0), (1.0, 3960.0)])
async def test_records_are_read_again_every_hour_more_or_less(
    random: float, every: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    told: list[tuple[float, Switches]] = []
    answers = [Switches(), Switches(datagram_v3=True), Switches(datagram_v3=True)]

    async def look_up(account_tag: str, *, before: Switches) -> Switches:
        assert before == (told[-1][1] if told else Switches()), "what holds now"
        asked.append(asyncio.get_running_loop().time())
        return answers[min(len(asked), 3) - 1]

    monkeypatch.setattr(remote_switches, "look_up_switches", look_up)
    clock = asyncio.get_running_loop().time
    begun = clock()
    following = follow_switches(
        config(), Switches(), lambda found: told.append((clock(), found)), random=lambda: random
    )
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(4 * 3600):
            await following
    assert [pytest.approx(at - begun) for at in asked] == [every * n for n in range(1, len(asked) + 1)]
    assert [found for _, found in told] == [Switches(datagram_v3=True)], "told once"
    assert told[0][0] == asked[1]


def test_a_token_settles_the_protocol(tmp_path: Path) -> None:
    assert load(tmp_path, RULES).edge.remote_switches
    assert load(tmp_path, RULES).edge.remote_protocol
    assert not load(tmp_path, RULES, token=token()).edge.remote_protocol


def test_version_3_of_datagrams_is_switched_on_unless_one_was_asked_for() -> None:
    v2, v3 = "support_datagram_v2", "support_datagram_v3_2"
    assert with_datagram_v3((v2,), ()) == (v2, v3)
    assert with_datagram_v3((v2,), (v2,)) == (v2,)
    assert with_datagram_v3((v2, v3), (v3,)) == (v2, v3)
