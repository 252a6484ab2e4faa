"""Push a configuration to the connectors of a tunnel, and keep it for those that come later (wire.md 10)."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyconnector.edge.connectors.connection import EdgeConnection
from pyconnector.edge.connectors.session import PushFailed

if TYPE_CHECKING:
    from pyconnector.edge.connectors.tunnels import Tunnel, Tunnels

_log = logging.getLogger("pyconnector.edge")


@dataclass(frozen=True, slots=True, kw_only=True)
class PushAnswer:
    """What one connector said, or why it did not."""

    connection_id: str
    applied_version: int
    "The version now in force there; -1 where it gave no answer."
    error: str
    "Why it did not take the new one; empty where it did."
    answered: bool = True


async def push_to_tunnel(tunnels: Tunnels, tunnel: Tunnel, configuration: bytes) -> list[PushAnswer]:
    """Send `configuration` to each connector of the tunnel, and keep it if none rejected it. Cancel abandons the calls.

    A connector has one configuration however many connections it has, so one of them gets it.
    """
    chosen = _one_for_each_connector(tunnel)
    version = tunnel.configuration_version + 1
    answers = await asyncio.gather(*[_push(member, version, configuration) for member in chosen])
    if answers and not any(answer.error for answer in answers):
        tunnel.configuration = configuration
        tunnel.configuration_version = max(version, *(answer.applied_version for answer in answers))
        tunnels.learn(tunnel, configuration)
    return answers


async def push_kept(tunnel: Tunnel) -> None:
    """Send each connector the configuration as a control plane numbered it. Cancel abandons the calls."""
    if tunnel.configuration is None:
        return
    version, configuration = tunnel.configuration_version, tunnel.configuration
    chosen = _one_for_each_connector(tunnel)
    answers = await asyncio.gather(*[_push(member, version, configuration, numbered=True) for member in chosen])
    for answer in answers:
        if answer.error:
            _log.warning("connection %s did not take version %d: %r", answer.connection_id, version, answer.error)


def _one_for_each_connector(tunnel: Tunnel) -> list[EdgeConnection]:
    chosen: dict[object, EdgeConnection] = {}
    for member in tunnel.members:
        if isinstance(member, EdgeConnection):
            chosen.setdefault(member.registration.client_id, member)
    return list(chosen.values())


async def _push(member: EdgeConnection, version: int, configuration: bytes, *, numbered: bool = False) -> PushAnswer:
    try:
        answer = await member.push_configuration(version, configuration, numbered=numbered)
    except PushFailed as exc:
        return PushAnswer(connection_id=str(member.connection_id), applied_version=-1, error=str(exc), answered=False)
    return PushAnswer(
        connection_id=str(member.connection_id), applied_version=answer.latest_applied_version, error=answer.error
    )
