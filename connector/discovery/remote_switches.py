"""What the provider's DNS says of this account: over which protocol it is to connect at first, and with which features
(reference/lifecycle.md 2, 3). Asked at the start, and every hour; where nothing is said, or nonsense, what was said
before holds, and the defaults at first.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pyconnector.connector.observe.log import Log, fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.connector.config.model import ConnectorConfig

PROTOCOLS, FEATURES = "protocol-v2.argotunnel.com", "cfd-features.argotunnel.com"
#: Seconds that the start waits for both at most: it goes on without.
TIMEOUT = 3.0
#: Seconds between two looks, and the share of them by which each is earlier or later, so that not all ask at once.
EVERY, JITTER = 3600.0, 0.1
#: Characters of a record, and entries of the list of protocols, that are looked at.
MAX_TEXT, MAX_ENTRIES = 4096, 16
#: Protocols in the order in which percentages are compared.
_ORDER = ("quic", "http2")

_log = Log("discovery")


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """What holds for one account."""

    protocol: str = "quic"
    datagram_v3: bool = False
    skip_prechecks: bool = False


class TextResolver(Protocol):
    """Answers questions about text records."""

    async def texts(self, name: str) -> list[str]:
        """Return the TXT records of `name`. Raises NoAnswer. Cancel at any time."""


def bucket(account_tag: str) -> int:
    """Return which hundredth of all accounts this one is in: FNV-1a of 32 bits."""
    value = 0x811C9DC5
    for byte in account_tag.encode():
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value % 100


def parse_protocols(text: str, place: int) -> str:
    """Return the protocol for the accounts of hundredth `place`.

    Raises:
        ValueError: the text says nothing of the kind.
    """
    entries = _parsed(text, list)[:MAX_ENTRIES]
    shares = {
        entry["protocol"].lower(): entry["percentage"]
        for entry in entries
        if isinstance(entry, dict) and isinstance(entry.get("protocol"), str) and _is_number(entry.get("percentage"))
    }
    return next((name for name in _ORDER if shares.get(name, 0) > place), _ORDER[0])


def parse_features(text: str, place: int) -> tuple[bool, bool]:
    """Return whether datagrams are of version 3, and whether checks of the way are left out.

    Raises:
        ValueError: the text says nothing of the kind.
    """
    told = _parsed(text, dict)
    share = told.get("dv3_2", 0)
    if not _is_number(share):
        raise ValueError("dv3_2 is no number")
    return share > place, told.get("skip_prechecks") is True


async def look_up_switches(
    account_tag: str, resolver: TextResolver | None = None, *, before: Switches | None = None
) -> Switches:
    """Return what holds for an account; what is not said stays as `before`, by default as it is for all.

    Takes `TIMEOUT` seconds at most and never fails. Cancel at any time.
    """
    from pyconnector.connector.discovery.resolvers import SystemResolver  # with its library, where DNS is asked

    resolver = resolver or SystemResolver()
    place = bucket(account_tag)
    protocols, features = await asyncio.gather(_text(resolver, PROTOCOLS), _text(resolver, FEATURES))
    switches = before or Switches()
    protocol, (datagram_v3, skip) = switches.protocol, (switches.datagram_v3, switches.skip_prechecks)
    try:
        protocol = parse_protocols(protocols, place) if protocols else protocol
    except ValueError as error:
        _log.debug("The share of protocols in DNS cannot be read: %s", error, **fields(name=PROTOCOLS))
    try:
        datagram_v3, skip = parse_features(features, place) if features else (datagram_v3, skip)
    except ValueError as error:
        _log.debug("The features in DNS cannot be read: %s", error, **fields(name=FEATURES))
    return Switches(protocol=protocol, datagram_v3=datagram_v3, skip_prechecks=skip)


async def switches_for(config: ConnectorConfig) -> Switches:
    """Return what holds for a connector: nothing of DNS where its edge is not the provider's."""
    return await look_up_switches(config.credentials.account_tag) if is_switched(config) else Switches()


def is_switched(config: ConnectorConfig) -> bool:
    """Whether DNS is asked for a connector: where its edge is the provider's."""
    edge = config.edge
    return edge.remote_switches and not edge.addresses and not edge.discovery.is_own


async def follow_switches(
    config: ConnectorConfig, known: Switches, changed: Callable[[Switches], None], *, random: Callable[[], float]
) -> None:
    """Look every hour, and call `changed` with what is not as it was. Cancel at any time.

    `random` gives numbers in [0, 1).
    """
    while True:
        await asyncio.sleep(EVERY * (1 + JITTER * (2 * random() - 1)))
        found = await look_up_switches(config.credentials.account_tag, before=known)
        if found != known:
            _log.info(
                "The provider wants something else of this account: it holds for the next connections",
                **fields(protocol=found.protocol, datagrams="v3" if found.datagram_v3 else "v2"),
            )
            known = found
            changed(found)


async def _text(resolver: TextResolver, name: str) -> str:
    from pyconnector.connector.discovery.resolvers import NoAnswer

    try:
        async with asyncio.timeout(TIMEOUT):
            return next(iter(await resolver.texts(name)), "")
    except (NoAnswer, TimeoutError) as error:
        _log.debug("DNS does not say what holds for this account: %s", error, **fields(name=name))
        return ""


def _parsed(text: str, wanted: type) -> Any:
    if len(text) > MAX_TEXT:
        raise ValueError("it is too long")
    try:
        found = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(found, wanted):
        raise ValueError("it is something else")  # noqa: TRY004 - of a text, not of an argument
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
