"""Names as the database keeps them: lower case, punycode, checked. Pure."""

from __future__ import annotations

import re

import idna

from pyconnector.control.store.errors import Invalid

_HOSTNAME = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
#: What a name is routed to: `<tunnel id>.cfargotunnel.com`.
TUNNEL_SUFFIX = ".cfargotunnel.com"
_MAX_HOSTNAME = 253
_MAX_LABEL = 63


def hostname_of(text: str) -> str:
    """Return a hostname in lower-case ASCII, perhaps behind `*.`.

    Raises:
        Invalid: it is none.
    """
    star, rest = ("*.", text[2:]) if text.startswith("*.") else ("", text)
    rest = rest.removesuffix(".").lower()
    if not rest.isascii():
        try:
            rest = idna.encode(rest, uts46=True).decode("ascii")
        except idna.IDNAError:
            raise Invalid(f"{text!r} is no hostname.", 9005) from None
    name = star + rest
    if len(name) > _MAX_HOSTNAME or not _HOSTNAME.fullmatch(name) or any(len(x) > _MAX_LABEL for x in name.split(".")):
        raise Invalid(f"{text!r} is no hostname.", 9005)
    return name


def name_in_zone(text: str, zone: str) -> str:
    """Return a hostname within `zone`; one that is outside has the zone's name appended, as the reference's API does.

    Raises:
        Invalid: that is no hostname.
    """
    name = zone if text == "@" else hostname_of(text)
    if name != zone and not name.endswith("." + zone):
        name = hostname_of(f"{name}.{zone}")
    return name
