"""Which application answers at a URL, as its edge says (reference/access.md 4, "Metadata probe"). Pure but for `ask`.

The signature of the answer is not verified: TLS vouches for the host that gives it, and what it says names files here,
and pages of that same host.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pyconnector.agent.access.errors import AccessError

if TYPE_CHECKING:
    from pyconnector.agent.access.pages import Pages
    from pyconnector.agent.access.place import Place

#: Seconds for which an answer is taken, and by which the edge's clock may be ahead.
MAX_AGE: Final = 24 * 3600
MAX_AHEAD: Final = 300
MAX_TEXT: Final = 16 * 1024
_TIMEOUT: Final = 7.0
_SAFE: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ.-_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """What tokens are issued for."""

    audience: str
    hostname: str
    "Where it is, perhaps with a path or `*`."
    auth_domain: str


def ask_application(pages: Pages, place: Place, now: float) -> Application:
    """Return the application at `place`; `now` is seconds since the epoch.

    Raises:
        AccessError: none is there, or what answers makes no sense.
    """
    page = pages.ask("HEAD", place, place.target, [("cf-access-metadata-request", "true")], _TIMEOUT)
    text = page.fields.get("cf-access-metadata", "")
    if not text:
        raise AccessError(f"failed to find Access application at {place.url}", page.status)
    claims = payload_of(text)
    application = Application(
        audience=str(claims.get("aud", "")), hostname=str(claims.get("app_hostname", "")),
        auth_domain=str(claims.get("auth_domain", "")),
    )  # fmt: skip
    issued = claims.get("iat")
    if claims.get("type") != "match" or claims.get("hostname") != place.host or not application.audience:
        raise AccessError(f"{place.host} speaks of another application than its own")
    if not isinstance(issued, int) or not now - MAX_AGE <= issued <= now + MAX_AHEAD:
        raise AccessError(f"what {place.host} says of its application is too old, or this machine's clock is wrong")
    for value in (application.audience, application.hostname, application.auth_domain):
        if not value or len(value) > 255 or not set(file_name(value)) <= _SAFE or ".." in value:
            raise AccessError(f"{place.host} names its application in a way that cannot be")
    return application


def file_name(text: str) -> str:
    """Return what stands in a file's name for a hostname with a path."""
    return text.replace("/", "-").replace("*", "-")


def payload_of(token: str) -> dict[str, Any]:
    """Return the claims of a token, unverified; none where it is none."""
    parts = token.strip().split(".")
    if len(parts) != 3 or len(token) > MAX_TEXT:
        return {}
    try:
        value = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
