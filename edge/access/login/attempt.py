"""An attempt to log in: where it began, and what its browser carries of it, sealed. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

#: Seconds for which an attempt may go on, and for which its end may be taken from the login page to the application.
ATTEMPT_SECONDS, CODE_SECONDS = 900, 60
#: Characters of a target that is returned to; from a longer one people come to the first page.
MAX_TARGET = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where somebody wanted to go: an application's host, in the browser in which that was."""

    scheme: str
    authority: str
    "The host with its port, as it was asked for."
    target: str
    "Path and query, beginning with a slash."
    application: str
    "The id of the application."
    browser: str
    "The digest of the cookie that the browser was given there."

    @property
    def url(self) -> str:
        """The address itself: of this host, whatever its target looks like."""
        return f"{self.scheme}://{self.authority}{self.target}"

    @property
    def site(self) -> str:
        """The origin of the address (RFC 6454)."""
        return f"{self.scheme}://{self.authority}"

    @property
    def host(self) -> str:
        """The host alone."""
        return urlsplit(self.site).hostname or ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What the browser carries on the login page's host."""

    id: str
    origin: Origin
    email: str = ""
    pin: str = field(default="", repr=False)
    "The digest of the PIN that was sent; empty where none was, so that none fits."
    edge: str = ""
    "What the edge is known by that made the PIN or the state."
    provider: str = ""
    state: str = ""
    "What the OpenID provider has to send back (RFC 6749 10.12)."
    nonce: str = field(default="", repr=False)
    verifier: str = field(default="", repr=False)

    def with_pin(self, provider: str, email: str, digest: str, attempt_id: str, edge: str) -> Attempt:
        """Return a new attempt that waits for a PIN: guesses at the one before do not count for this one."""
        return replace(
            self, id=attempt_id, provider=provider, email=email, pin=digest, edge=edge, state="", nonce="", verifier=""
        )


def origin_of(value: dict[str, Any]) -> Origin | None:
    """Return an origin of what was sealed; None where it is none."""
    if not all(isinstance(text, str) for text in value.values()):
        return None
    try:
        return Origin(**value)
    except TypeError:
        return None


def attempt_of(value: dict[str, Any]) -> Attempt | None:
    """Return an attempt of what was sealed; None where it is none."""
    inner = value.get("origin")
    origin = origin_of(inner) if isinstance(inner, dict) else None
    rest = {name: text for name, text in value.items() if name != "origin"}
    if origin is None or not all(isinstance(text, str) for text in rest.values()):
        return None
    try:
        return Attempt(origin=origin, **rest)
    except TypeError:
        return None


def target_of(target: str) -> str:
    """Return the target that is returned to after a login: printable ASCII that begins with a slash."""
    fits = target.startswith("/") and len(target) <= MAX_TARGET and target.isascii() and target.isprintable()
    return target if fits and " " not in target else "/"


def browser_digest(value: bytes) -> str:
    """Return what is remembered of the cookie that a browser was given where a login began."""
    return sha256(b"browser:" + value).hexdigest() if value else ""
