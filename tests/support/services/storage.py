"""A server that speaks S3, for tests."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import pytest

BUCKET = "audit-logs"


@contextlib.contextmanager
def running_storage() -> Iterator[tuple[Any, str]]:
    """A client of a storage that has one bucket, and its URL; skips where the library is not there."""
    boto3 = pytest.importorskip("boto3")
    server_module = pytest.importorskip("moto.server")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        options = {"region_name": "us-east-1", "aws_access_key_id": "I", "aws_secret_access_key": "S"}
        client = boto3.client("s3", endpoint_url=url, **options)
        client.create_bucket(Bucket=BUCKET)
        yield client, url
        client.close()
    finally:
        server.stop()
