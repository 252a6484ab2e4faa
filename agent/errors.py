"""Why the private network was not reached."""

from __future__ import annotations


class MeshError(OSError):
    """A destination was not reached. `status` is what the gateway answered, 0 where it did not answer."""

    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(reason)
        self.status = status
