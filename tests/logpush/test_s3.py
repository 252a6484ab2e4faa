"""Batches as objects of a bucket, at a server that speaks S3."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

boto3 = pytest.importorskip("boto3")
moto_server = pytest.importorskip("moto.server")

from pyconnector.logpush.destinations import S3Destination, parse_destination  # noqa: E402
from pyconnector.logpush.senders.base import Batch, SendFailed  # noqa: E402
from pyconnector.logpush.senders.s3 import S3Sender, key_of  # noqa: E402

BATCH = Batch(
    id="ab" * 32, body=json.dumps({"n": 1}).encode() + b"\n", count=1, begun="2027-01-15T08:00:00.250Z",
    ended="2027-01-15T08:00:30.000Z",
)  # fmt: skip


@pytest.fixture(scope="module")
def storage() -> Iterator[tuple[Any, str]]:
    """A client of a storage with the bucket `audit-logs`, and its URL."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    client = boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="I", aws_secret_access_key="S"
    )
    client.create_bucket(Bucket="audit-logs")
    yield client, url
    client.close()
    server.stop()


def sender_to(url: str, bucket: str = "audit-logs") -> S3Sender:
    destination = parse_destination(
        f"s3://{bucket}/edge/{{DATE}}?region=us-east-1&endpoint={url}&access-key-id=I&secret-access-key=S"
    )
    assert isinstance(destination, S3Destination)
    return S3Sender(destination)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.asyncio
async def test_a_batch_sent_twice_is_there_once(storage: tuple[Any, str]) -> None:
    client, url = storage
    sender = sender_to(url)
    try:
        await sender.send(BATCH)
        await sender.send(BATCH)
    finally:
        await sender.close()
    (found,) = client.list_objects_v2(Bucket="audit-logs")["Contents"]
    assert found["Key"] == "edge/20270115/20270115T080000Z_20270115T080030Z_abababababababab.log.gz"
    body = client.get_object(Bucket="audit-logs", Key=found["Key"])["Body"].read()
    assert gzip.decompress(body) == BATCH.body


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.asyncio
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
    assert key_of("", BATCH).startswith("20270115T080000Z_")
    assert key_of("a/{DATE}/", BATCH).startswith("a/20270115/2027")
