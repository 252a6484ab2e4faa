"""Whether a destination can be written to from here, and whether who names it can read there."""

from __future__ import annotations

import asyncio

from pyconnector.control.store.errors import Invalid
from pyconnector.control.store.logs.logpush import BAD_JOB
from pyconnector.logpush.destinations import Destination, DestinationError, parse_destination
from pyconnector.logpush.senders.base import SenderMissing, SendFailed, make_sender

#: Seconds for a destination to answer.
TIMEOUT = 20.0
TEST_NAME, TEST_TEXT = "test.txt", '{"content":"test"}\n'


def destination_of(text: str) -> Destination:
    """Return a destination.

    Raises:
        Invalid: it is none.
    """
    try:
        return parse_destination(text)
    except DestinationError as error:
        raise Invalid(f"{str(error)[:1].upper()}{str(error)[1:]}.", BAD_JOB) from None


async def write(destination: Destination, name: str, text: str) -> None:
    """Write a file there. Cancel gives it up.

    Raises:
        Invalid: that cannot be done.
    """
    try:
        sender = make_sender(destination)
    except SenderMissing as error:
        raise Invalid(f"The control plane cannot look at the destination: {error}.", BAD_JOB) from None
    try:
        async with asyncio.timeout(TIMEOUT):
            await sender.probe(name, text)
    except SendFailed as error:
        raise Invalid(f"The destination {destination.shown} does not work: {error}.", BAD_JOB) from None
    except TimeoutError:
        raise Invalid(f"The destination {destination.shown} did not answer within {TIMEOUT:g} s.", BAD_JOB) from None
    finally:
        await sender.close()
