"""What pushers see of the log that they read from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from pyconnector.edge.audit.push.cursor import Cursor
    from pyconnector.edge.audit.retention import Retention


class Spool(Protocol):
    """A log with its files."""

    @property
    def directory(self) -> Path:
        """Where they are."""

    @property
    def retention(self) -> Retention:
        """Where pushers say how far they are."""

    @property
    def end(self) -> Cursor:
        """Where what is surely on disk ends."""

    def prune_soon(self) -> None:
        """A pusher needs a file no longer."""
