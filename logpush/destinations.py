"""Where records are pushed to, read from one URL as `destination_conf` has it (api.md 9). Pure.

`https://host/path?header_NAME=VALUE`, `s3://bucket/path?region=R&endpoint=URL&access-key-id=I&secret-access-key=S` and,
as an extension, `postgresql://user@host/database?table=NAME`.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

#: Characters of a destination, and of headers that it names.
MAX_LENGTH = 4096
MAX_HEADERS = 20
#: What stands in place of a secret where a destination is shown.
REDACTED = "REDACTED"
DEFAULT_TABLE = "audit_records"
_HEADER = "header_"
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TABLE = re.compile(r"[a-z_][a-z0-9_]{0,62}(\.[a-z_][a-z0-9_]{0,62})?")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_REGION = re.compile(r"[a-z0-9-]{1,64}")
_S3_SECRETS = ("secret-access-key", "session-token")
_S3_NAMES = {"region", "endpoint", "access-key-id", "sse", *_S3_SECRETS}
#: Headers that the sender sets by itself.
_OWN_HEADERS = {"content-length", "content-encoding", "host", "connection", "transfer-encoding"}


class DestinationError(ValueError):
    """Nothing can be pushed there. The text is one sentence without secrets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpDestination:
    """A server that takes batches by POST."""

    url: str = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    shown: str
    "The destination without anything secret, for logs."


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Destination:
    """A bucket of S3, or of a storage that speaks like it."""

    bucket: str
    path: str
    "Before the names of objects, with `/` at its end unless it is empty; `{DATE}` stands for the day."
    region: str
    endpoint: str
    "The storage's URL; empty for the provider's own."
    access_key_id: str = field(default="", repr=False)
    secret_access_key: str = field(default="", repr=False)
    session_token: str = field(default="", repr=False)
    "All three empty: whatever the machine has (environment, profile, role)."
    sse: str = ""
    shown: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresqlDestination:
    """A table that is made where it is not there."""

    url: str = field(repr=False)
    table: str
    shown: str


Destination: TypeAlias = HttpDestination | S3Destination | PostgresqlDestination


def parse_destination(text: str) -> Destination:
    """Return the destination that a URL names.

    Raises:
        DestinationError: it names none.
    """
    if len(text) > MAX_LENGTH:
        raise DestinationError(f"a destination has at most {MAX_LENGTH} characters")
    if any(ord(character) <= 32 or ord(character) == 127 for character in text):
        raise DestinationError("a destination holds neither blanks nor control characters")
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname or "", parts.port
        query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query), max_num_fields=50)
    except ValueError:
        raise DestinationError("the destination is no URL") from None
    if not host:
        raise DestinationError("the destination is no URL with a host: https://, s3:// and postgresql:// are known")
    if parts.fragment:
        raise DestinationError("a destination has no fragment (#)")
    match parts.scheme:
        case "https" | "http":
            return _http(text, query)
        case "s3":
            return _s3(text, query)
        case "postgresql" | "postgres":
            return _postgresql(text, query)
    raise DestinationError(f"{parts.scheme[:20]}:// is no known destination: https://, s3:// and postgresql:// are")


def redacted(text: str) -> str:
    """Return a destination as it may be shown: whoever sees it can tell which one it is, and cannot use it."""
    parts = urlsplit(text)
    authority = parts.netloc
    user, at, host = authority.rpartition("@")
    if at:
        name, colon, _ = user.partition(":")
        authority = f"{name}:{REDACTED}@{host}" if colon else authority
    named = parse_qsl(parts.query, keep_blank_values=True)
    query = [(name, REDACTED if _is_secret(name) else value) for name, value in named]
    return urlunsplit((parts.scheme, authority, parts.path, urlencode(query, quote_via=quote), ""))


def holds_secret(text: str) -> bool:
    """Return whether a destination has anything in it that `redacted` takes out."""
    parts = urlsplit(text)
    return parts.password is not None or any(_is_secret(name) for name, _ in parse_qsl(parts.query))


def _is_secret(name: str) -> bool:
    # Of a header nobody knows what is in it.
    return name.lower().startswith(_HEADER) or name.lower() in {*_S3_SECRETS, "password", "sslpassword"}


def _http(text: str, query: list[tuple[str, str]]) -> HttpDestination:
    parts = urlsplit(text)
    if parts.username is not None:
        raise DestinationError("a user goes into a header: header_Authorization=Basic%20...")
    if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
        raise DestinationError("records go over https://; http:// is for this machine alone (127.0.0.1, localhost)")
    headers, rest = [], []
    for name, value in query:
        if not name.lower().startswith(_HEADER):
            rest.append((name, value))
            continue
        header = name[len(_HEADER) :]
        if not _TOKEN.fullmatch(header) or header.lower() in _OWN_HEADERS:
            raise DestinationError(f"{header[:50]!r} is no header that can be chosen")
        if not value.isprintable() or not value.isascii():
            raise DestinationError(f"the value of the header {header[:50]} holds characters that no header may have")
        headers.append((header, value))
    if len(headers) > MAX_HEADERS:
        raise DestinationError(f"a destination has at most {MAX_HEADERS} headers")
    url = urlunsplit((parts.scheme, parts.netloc, parts.path or "/", urlencode(rest, quote_via=quote), ""))
    shown = urlunsplit((parts.scheme, parts.netloc, parts.path or "/", "", ""))
    return HttpDestination(url=url, headers=tuple(headers), shown=shown)


def _s3(text: str, query: list[tuple[str, str]]) -> S3Destination:
    parts, values = urlsplit(text), dict(query)
    if unknown := sorted(set(values) - _S3_NAMES):
        raise DestinationError(f"{unknown[0][:50]!r} is nothing that s3:// takes: {', '.join(sorted(_S3_NAMES))} are")
    bucket = parts.netloc
    if not _BUCKET.fullmatch(bucket):
        raise DestinationError(f"{bucket[:70]!r} is no name of a bucket")
    if not _REGION.fullmatch(values.get("region", "")):
        raise DestinationError("s3:// needs region=...")
    endpoint = values.get("endpoint", "")
    if endpoint:
        endpoint = _endpoint(endpoint)
    if bool(values.get("access-key-id")) != bool(values.get("secret-access-key")):
        raise DestinationError("access-key-id and secret-access-key go together")
    path = parts.path.strip("/")
    return S3Destination(
        bucket=bucket, path=path + "/" if path else "", region=values["region"], endpoint=endpoint,
        access_key_id=values.get("access-key-id", ""), secret_access_key=values.get("secret-access-key", ""),
        session_token=values.get("session-token", ""), sse=values.get("sse", ""), shown=f"s3://{bucket}/{path}",
    )  # fmt: skip


def _endpoint(text: str) -> str:
    text = text if "://" in text else f"https://{text}"
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
    except ValueError:
        host = ""
    if not host or parts.scheme not in ("http", "https") or parts.username is not None:
        raise DestinationError("endpoint is the URL of a storage")
    if parts.scheme == "http" and not _is_loopback(host):
        raise DestinationError("records go over https://; an endpoint with http:// is on this machine alone")
    return text


def _postgresql(text: str, query: list[tuple[str, str]]) -> PostgresqlDestination:
    parts, values = urlsplit(text), dict(query)
    if len(parts.path) < 2 or "/" in parts.path[1:]:
        raise DestinationError("postgresql:// names a database: postgresql://user@host/database")
    table = values.pop("table", DEFAULT_TABLE)
    if not _TABLE.fullmatch(table):
        raise DestinationError(
            f"{table[:70]!r} is no name of a table: lower case letters, digits and _, perhaps SCHEMA."
        )
    url = urlunsplit(("postgresql", parts.netloc, parts.path, urlencode(values, quote_via=quote), ""))
    host = parts.netloc.rpartition("@")[2]
    return PostgresqlDestination(url=url, table=table, shown=f"postgresql://{host}{parts.path}?table={table}")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
