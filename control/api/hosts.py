"""Names under which a control plane may be asked by a browser. Pure.

A page of somebody else's whose name leads here (DNS rebinding) has that name in Host. Nobody can let an IP address
lead elsewhere, and nobody owns `localhost`.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container


def is_own_host(host: str, hostnames: Container[str]) -> bool:
    """Return whether the Host field `host` is an IP address, `localhost`, or one of the lower-case `hostnames`."""
    if host.startswith("["):
        name, bracket, port = host[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            return False
    else:
        name = host.partition(":")[0]
    name = name.lower().removesuffix(".")
    if name == "localhost" or name in hostnames:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
