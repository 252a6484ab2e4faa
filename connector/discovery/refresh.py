"""Edges of a mesh come and go: while a connector runs it looks them up again and again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pyconnector.connector.api.errors import EdgeNotFound
from pyconnector.connector.observe.log import Log, fields

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyconnector.connector.config.model import EdgeConfig
    from pyconnector.connector.discovery.address_book import AddressBook
    from pyconnector.connector.discovery.resolvers import Resolver

#: Seconds between two look-ups.
EVERY = 15.0


async def follow(edge: EdgeConfig, book: AddressBook, *, resolvers: Sequence[Resolver] | None = None) -> None:
    """Let `book` know the edges of a mesh as they are, until cancelled. With no answer it stays as it is."""
    from pyconnector.connector.discovery.srv_lookup import look_up

    while True:
        await asyncio.sleep(EVERY)
        try:
            regions = await look_up(
                edge.region, ip_version=edge.ip_version, resolvers=resolvers, discovery=edge.discovery
            )
        except EdgeNotFound as error:
            Log("discovery").debug("The edges stay those of before: %s", error)
            continue
        if book.learn(regions):
            Log("discovery").info("The edges of the mesh have changed", **fields(addresses=len(book.addresses)))
