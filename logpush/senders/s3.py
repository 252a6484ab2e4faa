"""Batches as objects of a bucket, in gzip's form. The library blocks: it runs in a thread of its own."""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from pyconnector.logpush.senders.base import Batch, SendFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.logpush.destinations import S3Destination

CONNECT_TIMEOUT, TIMEOUT = 10.0, 60.0
_DIGITS = re.compile(r"[-:]|\.\d+")


class S3Sender:
    """See `Sender`. An object is named after what is in it, so that one sent twice is there once."""

    def __init__(self, destination: S3Destination) -> None:
        self._destination = destination
        self._client: Any = None
        self._thread = ThreadPoolExecutor(1, "audit s3")

    async def send(self, batch: Batch) -> None:
        """See `Sender.send`. Cancel does not end a request that is under way; it ends by itself."""
        await self._in_thread(
            lambda: self._put(key_of(self._destination.path, batch), batch.compressed(), "application/gzip")
        )

    async def probe(self, name: str, text: str) -> None:
        """See `Sender.probe`."""
        path = self._destination.path.replace("{DATE}", "")
        await self._in_thread(lambda: self._put(path + name, text.encode(), "text/plain"))

    async def close(self) -> None:
        """See `Sender.close`."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self._client is not None:
            self._client.close()  # which a request that is under way outlives

    async def _in_thread(self, work: Callable[[], None]) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except (BotoCoreError, ClientError, ValueError) as error:
            raise SendFailed(_sentence(error)) from error

    def _put(self, key: str, body: bytes, content_type: str) -> None:
        destination = self._destination
        if self._client is None:
            self._client = boto3.client(
                "s3", region_name=destination.region, endpoint_url=destination.endpoint or None,
                aws_access_key_id=destination.access_key_id or None,
                aws_secret_access_key=destination.secret_access_key or None,
                aws_session_token=destination.session_token or None,
                config=Config(connect_timeout=CONNECT_TIMEOUT, read_timeout=TIMEOUT, retries={"total_max_attempts": 1}),
            )  # fmt: skip
        options = {"ServerSideEncryption": destination.sse} if destination.sse else {}
        self._client.put_object(Bucket=destination.bucket, Key=key, Body=body, ContentType=content_type, **options)


def key_of(path: str, batch: Batch) -> str:
    """Return the name of the object of a batch."""
    begun, ended = (_DIGITS.sub("", moment) for moment in (batch.begun, batch.ended))
    return f"{path.replace('{DATE}', begun[:8])}{begun}_{ended}_{batch.id[:16]}.log.gz"


def _sentence(error: Exception) -> str:
    if isinstance(error, ClientError):
        told = error.response.get("Error", {})
        return f"the storage answered {told.get('Code', 'an error')}"
    return f"the storage cannot be used: {type(error).__name__}"
