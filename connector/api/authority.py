"""The authority that vouches for an edge, looked at before the first attempt to connect."""

from __future__ import annotations

from pyconnector.connector.api.errors import StartFailed
from pyconnector.transport.errors import ConnectFailed
from pyconnector.transport.tls.edge_roots import find_roots


def check_authority(file: str | None) -> None:
    """Refuse a file that vouches for nobody: every attempt to connect would fail, and none would be the last.

    Raises:
        StartFailed: `file` is such a one.
    """
    if file is None:
        return
    try:
        find_roots(file)
    except ConnectFailed as error:
        raise StartFailed(error.reason) from error
