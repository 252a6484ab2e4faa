"""One connection to a service, over transports that are not asyncio's alone."""

from __future__ import annotations

import asyncio
from unittest.mock import MagicMock

import pytest

from pyconnector.origins.net.channel import Channel


@pytest.mark.parametrize("error", [OSError(107, "not connected"), RuntimeError("unable to perform operation")])
async def test_a_service_that_has_reset_the_connection_ends_it(error: Exception) -> None:
    """asyncio's own transport says so only where its write side is closed, with an OSError; uvloop's with another."""
    transport = MagicMock(spec=asyncio.Transport)
    transport.can_write_eof.return_value = True
    transport.write_eof.side_effect = error
    channel = Channel(MagicMock())
    channel.connection_made(transport)
    channel.write_eof()
    transport.abort.assert_called_once_with()
