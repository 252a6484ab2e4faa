"""Which datagram size a path carries (RFC 9000 14.3, in the manner of RFC 8899). Pure.

Sizes are tried from small to large, one probe at a time, until one is lost for good. On loopback that ends with the
largest, which costs a fraction of the work per byte.
"""

from __future__ import annotations

#: Ethernet's share of steps, jumbo frames, and what only loopback carries.
STEPS = (1280, 1350, 1400, 1452, 8952, 16384)
#: A size is given up after this many lost probes.
ATTEMPTS = 3


class PathMtu:
    """Finds the largest size up to `maximum`, starting from `base`, which is taken to work."""

    __slots__ = ("_attempts", "_base", "_is_probing", "_steps", "size")

    def __init__(self, base: int, maximum: int) -> None:
        self._base = base
        self.size = base
        "The largest size that is known to work."
        self._steps = sorted({step for step in (*STEPS, maximum) if base < step <= maximum})
        self._attempts = 0
        self._is_probing = False

    def __repr__(self) -> str:
        return f"<PathMtu size={self.size} steps={self._steps}>"

    def limit(self, maximum: int) -> None:
        """Let no size be tried beyond what the peer accepts."""
        self._steps = [step for step in self._steps if step <= maximum]

    @property
    def wants_probe(self) -> bool:
        """Whether a probe should be sent now."""
        return bool(self._steps) and not self._is_probing

    def start_probe(self) -> int:
        """Return the size to probe; `acknowledged` or `lost` must follow."""
        self._is_probing = True
        self._attempts += 1
        return self._steps[0]

    def acknowledged(self, size: int) -> None:
        """The probe of `size` arrived: use it."""
        self._is_probing = False
        self._attempts = 0
        if self._steps and self._steps[0] == size:
            del self._steps[0]
            self.size = size

    def lost(self) -> None:
        """The probe was lost: try again a few times, then be content."""
        self._is_probing = False
        if self._attempts >= ATTEMPTS:
            self._steps = []

    def fall_back(self) -> bool:
        """Return to the base where larger datagrams seem to vanish; True where that changes anything."""
        self._steps = []
        changed = self.size != self._base
        self.size = self._base
        return changed
