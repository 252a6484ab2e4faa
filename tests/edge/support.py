"""An edge without QUIC, for tests that attach connectors in memory."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from pyconnector.edge import EdgeSettings, LocalEdge, TunnelSettings, VisitorSettings
from tests.support.peers.scripted_connector import ACCOUNT, SECRET, TUNNEL_ID

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

TUNNEL = TunnelSettings(account_tag=ACCOUNT, tunnel_id=TUNNEL_ID, secret=SECRET)


def settings(**changes: Any) -> EdgeSettings:
    values: dict[str, Any] = {"address": None, "tunnels": (TUNNEL,), "control": None} | changes
    return EdgeSettings(**values)


@asynccontextmanager
async def memory_edge(**changes: Any) -> AsyncIterator[LocalEdge]:
    async with LocalEdge(settings(**changes)) as edge:
        yield edge


def visitors(**changes: Any) -> VisitorSettings:
    return VisitorSettings(**changes)


async def until(condition: Callable[[], bool], what: str = "a condition", *, seconds: float = 5.0) -> None:
    """Wait until something is so, and fail if it never is."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.001)
    except TimeoutError:
        raise AssertionError(f"{what} never came true") from None
