"""What opens a data stream: the edge's ConnectRequest and the connector's ConnectResponse (wire.md 4.1).

These are the values only. `protocol.streams.openings` turns them into bytes and back, `protocol.http.headers` gives
their metadata the meaning of an HTTP request or response.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple, TypeAlias

#: Key and value pairs in order, duplicates kept.
Metadata: TypeAlias = tuple[tuple[bytes, bytes], ...]


class ConnectionType(IntEnum):
    """What a data stream carries after its opening."""

    HTTP = 0
    WEBSOCKET = 1
    TCP = 2


# Tuples, because one of either is made for each request, and a frozen dataclass takes three times as long to make.


class ConnectRequest(NamedTuple):
    """Everything that the edge declares about a data stream before its payload."""

    dest: str
    "A URL for HTTP and WEBSOCKET, IP:port for TCP; UTF-8 with surrogateescape."
    type: ConnectionType
    metadata: Metadata = ()


class ConnectResponse(NamedTuple):
    """The connector's answer. A non-empty `error` means that the request failed before a response began."""

    error: str = ""
    metadata: Metadata = ()
