"""What a request shows of itself, read strictly, and taken out before it goes on (access.md 1, 9). Pure.

Credentials come in a pair of headers, in one header as JSON, or as a token in `Cf-Access-Token`, in the cookie
`CF_Authorization` or behind `Authorization: Bearer`. More than one of them, or half of a pair, is refused: which one
counts must not be a question of who looks.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from pyconnector.edge.access.cookies import is_own, own_cookies, suffix_of
from pyconnector.identity.policies.policy import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from pyconnector.identity.applications.application import Application

    Headers = list[tuple[bytes, bytes]]

COOKIE = b"CF_Authorization"
_COOKIES = COOKIE.lower() + b"_"
ASSERTION = b"Cf-Access-Jwt-Assertion"
EMAIL = b"Cf-Access-Authenticated-User-Email"
ROLE, LABELS, OWNER = b"Cf-Access-Role", b"Cf-Access-Labels", b"Cf-Access-Owner"
CLIENT_ID, CLIENT_SECRET, TOKEN = b"cf-access-client-id", b"cf-access-client-secret", b"cf-access-token"
#: What only an edge says: whoever sends it speaks for somebody else.
_SPOOFED = frozenset(name.lower() for name in (ASSERTION, EMAIL, ROLE, LABELS, OWNER))
_SPOOFED_LENGTHS = frozenset(map(len, _SPOOFED))
_SPENT = frozenset((CLIENT_ID, CLIENT_SECRET, TOKEN))
#: Of the names that may show something: other spellings of one are as long. What has another length goes on as it is.
_LENGTHS = frozenset(map(len, (*_SPENT, b"cookie", b"authorization")))
_ODD = re.compile(rb"[^a-z0-9]")
#: Bytes of a token, and of a header with a pair in it.
MAX_TOKEN = 16_384
MAX_PAIR = 1024


# Not frozen, though nobody changes it: made for every request, and a frozen one costs three times as much to make.
@dataclass(slots=True)
class Pair:
    """Client id and secret of a service token."""

    client_id: str
    secret: str = field(repr=False)


# Not frozen, though nobody changes it: made for every request, and a frozen one costs three times as much to make.
@dataclass(slots=True)
class Token:
    """A token that an edge issued, as whoever sends it says."""

    text: bytes = field(repr=False)
    from_cookie: bool = False
    suffix: bytes = b""
    "What its cookie is named with, where that belongs to one of several applications of the host."


# Not frozen, though nobody changes it: made for every request, and a frozen one costs three times as much to make.
@dataclass(slots=True)
class Shown:
    """What a request shows, and its headers without it."""

    credential: Pair | Token | None
    fault: Reason | None
    headers: Headers = field(repr=False)
    cookies: tuple[tuple[bytes, bytes], ...] = field(default=(), repr=False)
    "Others of the edge's own."


def strip_spoofed(headers: Headers) -> Headers:
    """Return `headers` without those that only an edge may say, however they are spelt."""
    for name, _ in headers:
        if len(name) in _SPOOFED_LENGTHS and _spoofs(name):
            return [entry for entry in headers if len(entry[0]) not in _SPOOFED_LENGTHS or not _spoofs(entry[0])]
    return headers


def read_credentials(
    headers: Headers, token_headers: Collection[bytes], is_ours: Callable[[bytes], bool],
    applications: Sequence[Application] = (),
) -> Shown:  # fmt: skip
    """Return what is shown, and what goes on.

    Of cookies that belong to one of several `applications` the first of those counts, before the one of the host.

    `token_headers` are lower-case names that may carry a pair as JSON; `is_ours` says of a token whether it names one
    of our keys, for a Bearer token of somebody else's belongs to the service.
    """
    kept: Headers = []
    own: list[tuple[bytes, bytes]] = []
    found: dict[bytes, list[bytes]] = {}
    tokens: dict[bytes, list[bytes]] = {}
    bearers: list[tuple[bytes, bytes]] = []
    lengths = _LENGTHS.union(map(len, token_headers)) if token_headers else _LENGTHS
    for entry in headers:
        name, value = entry
        if len(name) not in lengths:
            kept.append(entry)
            continue
        lower = name.lower()
        if lower in _SPENT:
            found.setdefault(lower, []).append(value)
        elif lower[:2] == b"cf" and _ODD.sub(b"-", lower) in _SPENT:
            continue  # another spelling of one, for services that cannot tell them apart
        elif lower == b"cookie":
            kept += _split_cookie(entry, tokens, own)
        elif token_headers and lower in token_headers and (pair := _as_pair(value)) is not None:
            found.setdefault(b"json", []).append(pair)
        elif lower == b"authorization" and _bearer(value) and is_ours(_bearer(value)):
            bearers.append((name, _bearer(value)))
        else:
            kept.append(entry)
    if bearers:
        found[b"bearer"] = [value for _, value in bearers]
    suffix = _chosen(tokens, applications) if tokens else None
    if suffix is not None:
        found[COOKIE] = tokens[suffix]
    shown = _judged(found, kept)
    if suffix and isinstance(shown.credential, Token):
        shown.credential.suffix = suffix
    return replace(shown, cookies=tuple(own)) if own else shown


def _chosen(tokens: dict[bytes, list[bytes]], applications: Sequence[Application]) -> bytes | None:
    """Return the suffix of the cookie that counts; None where none of those that are there does."""
    return next((suffix for suffix in (*map(suffix_of, applications), b"") if suffix in tokens), None)


def _judged(found: dict[bytes, list[bytes]], kept: Headers) -> Shown:
    if not found:
        return Shown(None, None, kept)
    halves = (CLIENT_ID in found) + (CLIENT_SECRET in found)
    kinds = len(found) - (halves == 2)
    if kinds > 1 or any(len(values) > 1 for values in found.values()):
        return Shown(None, Reason.SEVERAL_CREDENTIALS, kept)
    if halves == 1:
        return Shown(None, Reason.INCOMPLETE_CREDENTIALS, kept)
    if halves == 2:
        return _pair(found[CLIENT_ID][0], found[CLIENT_SECRET][0], kept)
    for kind, values in found.items():
        if kind == b"json":
            client_id, _, secret = values[0].partition(b"\n")
            return _pair(client_id, secret, kept)
        if not values[0] or len(values[0]) > MAX_TOKEN:
            return Shown(None, Reason.BAD_TOKEN, kept)
        return Shown(Token(values[0], from_cookie=kind == COOKIE), None, kept)
    return Shown(None, None, kept)


def _pair(client_id: bytes, secret: bytes, kept: Headers) -> Shown:
    if not client_id or not secret:
        return Shown(None, Reason.INCOMPLETE_CREDENTIALS, kept)
    return Shown(Pair(client_id.decode("latin-1")[:MAX_PAIR], secret.decode("latin-1")[:MAX_PAIR]), None, kept)


def _as_pair(value: bytes) -> bytes | None:
    """Return both halves of a JSON pair, a line feed between them; None where it is none, and so not ours."""
    if not value.startswith(b"{") or len(value) > MAX_PAIR:
        return None
    try:
        # It begins with a brace, so it is an object; whether a name comes twice shows in its pairs alone.
        pairs: list[tuple[str, object]] = json.loads(value, object_pairs_hook=list)
    except (ValueError, RecursionError):
        return None
    said = dict(pairs)
    if not {name.lower() for name in said} & {"cf-access-client-id", "cf-access-client-secret"}:
        return None
    client_id, secret = said.get("cf-access-client-id"), said.get("cf-access-client-secret")
    if len(pairs) != 2 or not isinstance(client_id, str) or not isinstance(secret, str) or "\n" in client_id:
        return b"\n"  # meant as one and incomplete
    return f"{client_id}\n{secret}".encode("latin-1", "replace")


def _bearer(value: bytes) -> bytes:
    kind, _, token = value.partition(b" ")
    return token.strip(b" ") if kind.lower() == b"bearer" else b""


def _split_cookie(
    entry: tuple[bytes, bytes], tokens: dict[bytes, list[bytes]], own: list[tuple[bytes, bytes]]
) -> Headers:
    """Return what goes on of a cookie header; add its tokens to those of each suffix, and the rest of ours to `own`."""
    value = entry[1]
    if b"cf_" not in value.lower():
        return [entry]
    own += own_cookies([entry])
    kept = []
    for part in value.split(b";"):
        name, _, token = part.strip(b" \t").partition(b"=")
        if name == COOKIE or name.startswith(COOKIE + b"_"):
            tokens.setdefault(name[len(COOKIE) :], []).append(token.strip(b'"'))
        elif name.lower() != COOKIE.lower() and not name.lower().startswith(_COOKIES) and not is_own(name):
            kept.append(part.strip(b" \t"))
    return [(entry[0], b"; ".join(kept))] if kept else []


@lru_cache(maxsize=256)  # of names of few lengths, so of few bytes
def _spoofs(name: bytes) -> bool:
    lower = name.lower()
    return lower[:2] == b"cf" and _ODD.sub(b"-", lower) in _SPOOFED
