"""Cookies of the edge's own: set so that no page, no other site and no neighbouring host can read or plant them. Pure.

Over TLS their names begin with `__Host-` (RFC 6265bis 4.1.3.2): a browser takes those from this very host alone, so a
sibling host cannot toss its own in. Without TLS, which is for this machine alone, they have no prefix.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from pyconnector.identity.applications.application import Application

    Headers = list[tuple[bytes, bytes]]

PREFIX = b"__Host-"
#: What a browser shows beside an application's token: the token holds its digest.
BINDING = b"CF_Binding"
#: That the login which ends here began in this browser.
APP_SESSION = b"CF_AppSession"
#: A login under way, on the login page's host.
LOGIN = b"CF_Login"
#: The global session, there.
SESSION = b"CF_Session"
NAMES = frozenset(prefix + name for prefix in (b"", PREFIX) for name in (BINDING, APP_SESSION, LOGIN, SESSION))


#: What begins those that belong to one of several applications of a host.
_OF_ONE = tuple(prefix + name + b"_" for prefix in (b"", PREFIX) for name in (BINDING, APP_SESSION))


def is_own(name: bytes) -> bool:
    """Return whether a cookie of that name is the edge's own, beside those with tokens."""
    return name in NAMES or name.startswith(_OF_ONE)


def suffix_of(application: Application) -> bytes:
    """Return what the names of an application's own cookies end with."""
    return b"_" + application.audience[:16].encode("ascii")


def suffix_on(application: Application, host: Collection[Application]) -> bytes:
    """Return what an application's cookies are named with, on a host whose applications are `host`: they share none."""
    return suffix_of(application) if any(other.id != application.id for other in host) else b""


def named(name: bytes, *, secure: bool) -> bytes:
    """Return a cookie's whole name."""
    return PREFIX + name if secure else name


def cookie(name: bytes, value: bytes, *, secure: bool, seconds: int) -> tuple[bytes, bytes]:
    """Return the field that sets a cookie for so many seconds; 0 takes it away."""
    flags = b"; Path=/; Max-Age=%d%b; HttpOnly; SameSite=Lax" % (seconds, b"; Secure" if secure else b"")
    return b"Set-Cookie", named(name, secure=secure) + b"=" + value + flags


def own_cookies(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Return the cookies among the fields of a request that are the edge's own, with and without prefix."""
    found = []
    for name, value in headers:
        if len(name) == 6 and name.lower() == b"cookie" and b"CF_" in value:
            for part in value.split(b";"):
                key, _, content = part.strip(b" \t").partition(b"=")
                if is_own(key):
                    found.append((key, content))
    return found


def value_of(cookies: Iterable[tuple[bytes, bytes]], name: bytes, *, secure: bool) -> bytes:
    """Return the value of one of our cookies; empty where it is not there, or there twice."""
    wanted = named(name, secure=secure)
    values = [value for key, value in cookies if key == wanted]
    return values[0] if len(values) == 1 else b""
