"""The names of the provider's edge, by region (reference/lifecycle.md 4, 9)."""

from __future__ import annotations

#: Port of the edge.
PORT = 7844


def region_names(region: str) -> list[str]:
    """Return the host names of both regions; `region` is that of a tunnel, empty for any."""
    prefix = f"{region}-" if region else ""
    return [f"{prefix}region{number}.v2.argotunnel.com" for number in (1, 2)]
