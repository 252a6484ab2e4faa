"""What the edge tells the far end about who visits: the fields that the real edge adds. Pure.

`Cf-Connecting-Ip`, `X-Forwarded-For` (the visitor's own entries stay in front), `X-Forwarded-Proto` and `Cf-Ray`.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    Headers = list[tuple[bytes, bytes]]

_REPLACED = frozenset((b"x-forwarded-for", b"x-forwarded-proto"))


class RayNumbers:
    """Numbers that tell requests apart, as the real edge prints them: 16 hexadecimal digits and where it was."""

    def __init__(self, first: int, location: str) -> None:
        self._numbers: Iterator[int] = itertools.count(first)
        self._location = location.upper()[:8] or "LOCAL"

    def next_ray(self) -> str:
        """Return a new one."""
        return f"{next(self._numbers) & 0xFFFF_FFFF_FFFF_FFFF:016x}-{self._location}"


class VisitorIdentity:
    """One visitor's address, ready to be added to its requests."""

    __slots__ = ("_address", "_fixed")

    def __init__(self, address: str, scheme: str = "http", proxy: str = "") -> None:
        """`proxy` is the address of one in front of the edge, that the visitor came by."""
        visitor = address.partition("%")[0].encode("ascii", "replace")  # without an IPv6 zone
        self._address = proxy.partition("%")[0].encode("ascii", "replace") if proxy else visitor
        self._fixed = [(b"Cf-Connecting-Ip", visitor), (b"X-Forwarded-Proto", scheme.encode("ascii"))]

    def add_to(self, headers: Headers, ray: str) -> Headers:
        """Return `headers` with the visitor's identity in place of whatever the visitor said of it."""
        forwarded = []
        kept = []
        for field in headers:
            lower = field[0].lower() if len(field[0]) in (15, 17) else b""
            if lower in _REPLACED:
                if lower == b"x-forwarded-for" and field[1]:
                    forwarded.append(field[1])
                continue
            kept.append(field)
        forwarded.append(self._address)
        kept += self._fixed
        kept.append((b"X-Forwarded-For", b", ".join(forwarded)))
        kept.append((b"Cf-Ray", ray.encode("ascii")))
        return kept
