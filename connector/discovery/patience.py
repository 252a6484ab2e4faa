"""Looking the edge up until it is found: a machine that starts may have no network yet."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pyconnector.connector.api.errors import EdgeNotFound, StartFailed
from pyconnector.connector.observe.log import Log, fields
from pyconnector.ingress.config.durations import format_duration

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pyconnector.connector.discovery.address_book import AddressBook
    from pyconnector.connector.link.reconnect.backoff import Backoff


async def find_again(
    find: Callable[[], Awaitable[AddressBook]], backoff: Backoff, *, wait: bool, is_stopped: Callable[[], bool]
) -> AddressBook:
    """Return what `find` finds; with `wait` after growing waits, as long as it is worth it. Cancel at any time.

    Raises:
        EdgeNotFound: it found nothing, and `wait` is not wanted.
        StartFailed: it never will, or `is_stopped`.
    """
    while not is_stopped():
        try:
            return await find()
        except EdgeNotFound as error:
            if not wait:
                raise
            delay = backoff.next_delay()
            Log("connector").error(
                "Cannot find the edge: %s", error, **fields(retryIn=format_duration(round(delay, 1)))
            )
            await asyncio.sleep(delay)
    raise StartFailed("the connector was stopped while it started")
