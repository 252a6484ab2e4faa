"""Batches by POST, gzip'd, as Logpush sends them to an HTTP destination."""

from __future__ import annotations

import asyncio
import gzip
from typing import TYPE_CHECKING

import httpx

from pyconnector.logpush.senders.base import Batch, SendFailed
from pyconnector.logpush.senders.slices import read_in_slices, verifying

if TYPE_CHECKING:
    from pyconnector.logpush.destinations import HttpDestination

#: Seconds to reach the receiver, between two signs of life of it, and for a batch in all.
CONNECT_TIMEOUT, TIMEOUT, WHOLE_TIMEOUT = 10.0, 60.0, 300.0
#: Seconds that a receiver may ask to wait.
MAX_RETRY_AFTER = 300.0


class HttpSender:
    """See `Sender`."""

    def __init__(self, destination: HttpDestination) -> None:
        self._destination = destination
        self._client = read_in_slices(
            httpx.AsyncClient(
                timeout=httpx.Timeout(TIMEOUT, connect=CONNECT_TIMEOUT),
                trust_env=False,
                follow_redirects=False,
                verify=verifying(trust_env=False),
            )
        )

    async def send(self, batch: Batch) -> None:
        """See `Sender.send`."""
        # What a receiver that wants each batch once can go by.
        await self._post(await asyncio.to_thread(batch.compressed), {"Idempotency-Key": batch.id})

    async def probe(self, name: str, text: str) -> None:
        """See `Sender.probe`."""
        await self._post(gzip.compress(text.encode()), {})

    async def close(self) -> None:
        """See `Sender.close`."""
        await self._client.aclose()

    async def _post(self, body: bytes, more: dict[str, str]) -> None:
        headers = httpx.Headers({"Content-Type": "application/x-ndjson"})
        headers.update(self._destination.headers)
        headers.update(more)
        headers["Content-Encoding"] = "gzip"
        try:
            # The answer's body is not read: nothing in it counts, and it may have no end.
            async with (
                asyncio.timeout(WHOLE_TIMEOUT),
                self._client.stream("POST", self._destination.url, content=body, headers=headers) as response,
            ):
                status, after = response.status_code, response.headers.get("retry-after", "")
        except TimeoutError as error:
            raise SendFailed(f"it did not take a batch within {WHOLE_TIMEOUT:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise SendFailed(f"it cannot be reached: {type(error).__name__}") from error
        if not 200 <= status < 300:
            wait = min(float(after), MAX_RETRY_AFTER) if after.isascii() and after.isdigit() else 0.0
            raise SendFailed(f"it answered {status}", retry_after=wait, too_large=status == 413)
