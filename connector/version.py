"""What this connector calls itself: to the edge at registration, in its log and on the command line."""

from __future__ import annotations

import platform

#: The version of the package; pyproject.toml takes it from here. Asking for the installed metadata takes 12 ms.
VERSION = "0.1.0"

_ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64", "i686": "386"}


def version() -> str:
    """Return the version of this package."""
    return VERSION


def architecture() -> str:
    """Return `<os>_<cpu>` in the edge's spelling, such as `linux_amd64` (wire.md 5.2)."""
    machine = platform.machine().lower()
    return f"{platform.system().lower()}_{_ARCHITECTURES.get(machine, machine)}"
