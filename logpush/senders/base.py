"""What every sender is given and does, and how one is made."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from typing import Any, Protocol

from pyconnector.logpush.destinations import Destination, HttpDestination, S3Destination

#: Fast rather than small: records are alike, and shrink to a tenth anyway.
_LEVEL = 3


class SendFailed(Exception):
    """The destination did not take a batch. The text is one sentence without secrets."""

    def __init__(self, sentence: str, *, retry_after: float = 0.0, too_large: bool = False) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after
        "Seconds that the destination asks to wait; 0 where it says nothing."
        self.too_large = too_large
        "A smaller batch would do."


class SenderMissing(Exception):
    """A library is not installed. The text says which extra brings it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Some records, rendered."""

    id: str
    "The same for the same records, however often they are sent."
    body: bytes = field(repr=False)
    count: int
    begun: str
    ended: str
    "When the first and the last of them began, RFC 3339."
    rows: tuple[tuple[str, dict[str, Any]], ...] = field(default=(), repr=False)
    "Each record with its digest, for a table."

    def compressed(self) -> bytes:
        """Return the body in gzip's form, always the same for the same records. Takes milliseconds."""
        return gzip.compress(self.body, _LEVEL, mtime=0)


class Sender(Protocol):
    """Takes batches to one destination."""

    async def send(self, batch: Batch) -> None:
        """Take a batch there; done once the destination has it. Cancel leaves it there, or not.

        Raises:
            SendFailed: it does not have it; the same batch may be tried again.
        """

    async def probe(self, name: str, text: str) -> None:
        """Write a small file of that name there, to see whether that can be done. Cancel leaves it there, or not.

        Raises:
            SendFailed: it cannot.
        """

    async def close(self) -> None:
        """Close connections. Idempotent. Cancel leaves some open."""


def make_sender(destination: Destination) -> Sender:
    """Return what sends to a destination.

    Raises:
        SenderMissing: a library for it is not installed.
    """
    try:
        if isinstance(destination, HttpDestination):
            from pyconnector.logpush.senders.http import HttpSender

            return HttpSender(destination)
        if isinstance(destination, S3Destination):
            from pyconnector.logpush.senders.s3 import S3Sender

            return S3Sender(destination)
        from pyconnector.logpush.senders.postgresql import PostgresqlSender

        return PostgresqlSender(destination)
    except ImportError as error:
        extra = "s3" if isinstance(destination, S3Destination) else "mesh"
        raise SenderMissing(
            f"{destination.shown} needs a package more ({error.name}): pip install 'pyconnector[{extra}]'"
        ) from error
