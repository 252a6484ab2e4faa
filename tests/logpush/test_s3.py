"""Batches as objects of a bucket, at a server that speaks S3."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest

from pyconnector.logpush.destinations import S3Destination, parse_destination
from pyconnector.logpush.senders.base import Batch, SendFailed
from tests.support.services.storage import running_storage

s3 = pytest.importorskip("pyconnector.logpush.senders.s3")

BATCH = Batch(
    id="ab" * 32, body=json.dumps({"n": 1}).encode() + b"\n", count=1, begun="2027-01-15T08:00:00.250Z",
    ended="2027-01-15T08:00:30.000Z",
)  # fmt: skip


@pytest.fixture(scope="module")
def storage() -> Iterator[tuple[Any, str]]:
    with running_storage() as found:
        yield found


def sender_to(url: str, bucket: str = "audit-logs") -> Any:
    destination = parse_destination(
        f"s3://{bucket}/edge/{{DATE}}?region=us-east-1&endpoint={url}&access-key-id=I&secret-access-key=S"
    )
    assert isinstance(destination, S3Destination)
    return s3.S3Sender(destination)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
async def test_a_batch_sent_twice_is_there_once(storage: tuple[Any, str]) -> None:
    client, url = storage
    sender = sender_to(url)
    try:
        await sender.send(BATCH)
        await sender.send(BATCH)
    finally:
        await sender.close()
    (found,) = client.list_objects_v2(Bucket="audit-logs", Prefix="edge/")["Contents"]
    assert found["Key"] == "edge/20270115/20270115T080000Z_20270115T080030Z_abababababababab.log.gz"
    body = client.get_object(Bucket="audit-logs", Key=found["Key"])["Body"].read()
    assert gzip.decompress(body) == BATCH.body
    client.close()  # the server's end of its connection is of this process too


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
async def test_what_a_storage_refuses_is_told_without_its_keys(storage: tuple[Any, str]) -> None:
    sender = sender_to(storage[1], bucket="not-there")
    with pytest.raises(SendFailed, match="NoSuchBucket"):
        await sender.send(BATCH)
    await sender.close()
    away = sender_to("http://127.0.0.1:9")
    with pytest.raises(SendFailed, match="cannot be used"):
        await away.send(BATCH)
    await away.close()


def test_the_day_of_a_path_is_that_of_the_records() -> None:
    assert s3.key_of("", BATCH).startswith("20270115T080000Z_")
    assert s3.key_of("a/{DATE}/", BATCH).startswith("a/20270115/2027")
