"""The TLS context of a client: as the standard library makes it, but for one old habit."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def client_context(ca_file: str | Path | None = None) -> ssl.SSLContext:
    """Return a context that trusts the authorities in `ca_file`, else those of the system.

    Raises:
        OSError: the file cannot be read, or holds none (ssl.SSLError).
    """
    context = ssl.create_default_context(cafile=ca_file)
    context.hostname_checks_common_name = False  # RFC 9525 6.3: only a subjectAltName names a service
    return context
