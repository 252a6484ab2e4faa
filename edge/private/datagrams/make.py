"""The link that a connection's registration asks for. Loaded once a connector registers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyconnector.edge.private.datagrams.link import FEATURE_V2, FEATURE_V3, DatagramLink
from pyconnector.edge.private.datagrams.v2 import DatagramLinkV2
from pyconnector.edge.private.datagrams.v3 import DatagramLinkV3

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyconnector.transport.seam import Connection


def make_link(transport: Connection, features: Sequence[str]) -> DatagramLink | None:
    """Return what carries datagrams over `transport` from now on; None where its connector carries none."""
    link: DatagramLink
    if FEATURE_V3 in features:
        link = DatagramLinkV3(transport)
    elif FEATURE_V2 in features:
        link = DatagramLinkV2(transport)
    else:
        return None
    transport.set_datagram_handler(link.receive)
    return link
