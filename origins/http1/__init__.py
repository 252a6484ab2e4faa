"""HTTP/1.1 towards origins: strict reading, careful writing, a keep-alive pool."""

from __future__ import annotations

from pyconnector.origins.http1.origin import HttpOrigin

__all__ = ["HttpOrigin"]
