"""What this connector calls itself: to the edge at registration, in its log and on the command line."""

from __future__ import annotations

import platform
from importlib import metadata

_ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64", "i686": "386"}


def version() -> str:
    """Return the installed version, or `0.0.0` when run from a tree that was never installed."""
    try:
        return metadata.version("pyconnector")
    except metadata.PackageNotFoundError:
        return "0.0.0"


def architecture() -> str:
    """Return `<os>_<cpu>` in the edge's spelling, such as `linux_amd64` (wire.md 5.2)."""
    machine = platform.machine().lower()
    return f"{platform.system().lower()}_{_ARCHITECTURES.get(machine, machine)}"
