"""Where records may be pushed to, and what of it may be shown."""

from __future__ import annotations

import pytest

from pyconnector.logpush.destinations import (
    DestinationError,
    HttpDestination,
    PostgresqlDestination,
    S3Destination,
    holds_secret,
    parse_destination,
    redacted,
)


def test_headers_of_an_http_destination_leave_its_url() -> None:
    found = parse_destination("https://logs.test/in?tags=a%20b&header_Authorization=Bearer%20secret")
    assert isinstance(found, HttpDestination)
    assert (found.url, found.headers) == ("https://logs.test/in?tags=a%20b", (("Authorization", "Bearer secret"),))
    assert "secret" not in repr(found)


def test_a_bucket_has_region_endpoint_and_keys() -> None:
    url = "s3://audit-logs/edge/{DATE}?region=eu-1&endpoint=https://s3.test&access-key-id=I&secret-access-key=S"
    found = parse_destination(url)
    assert isinstance(found, S3Destination)
    assert (found.bucket, found.path, found.region, found.endpoint) == (
        "audit-logs", "edge/{DATE}/", "eu-1", "https://s3.test",
    )  # fmt: skip
    assert (found.access_key_id, found.secret_access_key) == ("I", "S")
    assert "secret_access_key" not in repr(found)


def test_a_table_is_named_beside_the_database() -> None:
    found = parse_destination("postgresql://me:secret@db.test/logs?table=audit.records&sslmode=require")
    assert isinstance(found, PostgresqlDestination)
    assert (found.url, found.table) == ("postgresql://me:secret@db.test/logs?sslmode=require", "audit.records")
    assert "secret" not in repr(found)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("ftp://x/y", "no known destination"),
        ("logs.test", "no URL"),
        ("http://logs.test/", "https"),
        ("https://me:pw@logs.test/", "header"),
        ("https://logs.test/?header_Content-Length=1", "no header"),
        ("https://logs.test/?header_X=a%0d%0ab", "characters"),
        ("https://logs.test/#x", "fragment"),
        ("https://logs .test/", "blanks"),
        ("https://[", "no URL"),
        ("s3://b", "no name of a bucket"),
        ("s3://bucket/x", "region"),
        ("s3://bucket/x?region=r&regoin=x", "regoin"),
        ("s3://bucket/x?region=r&access-key-id=x", "together"),
        ("s3://bucket/x?region=r&endpoint=http://s3.test", "https"),
        ("postgresql://db.test/", "database"),
        ("postgresql://db.test/x?table=a;drop", "no name of a table"),
        ("https://logs.test/" + "x" * 5000, "characters"),
    ],
)
def test_what_is_no_destination_is_told(text: str, told: str) -> None:
    with pytest.raises(DestinationError, match=told):
        parse_destination(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://a.test/x?header_A=s&b=c", "https://a.test/x?header_A=REDACTED&b=c"),
        ("postgresql://u:pw@h/d", "postgresql://u:REDACTED@h/d"),
        ("s3://b/p?region=r&secret-access-key=s", "s3://b/p?region=r&secret-access-key=REDACTED"),
        ("s3://b/p?region=r", "s3://b/p?region=r"),
    ],
)
def test_secrets_are_not_shown(text: str, shown: str) -> None:
    assert redacted(text) == shown
    assert holds_secret(text) is (text != shown)
