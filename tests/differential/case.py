"""What one comparison is made of: what a visitor (or an edge) sends, and how the origin behaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pyconnector.protocol.streams.connect import ConnectionType

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
#: A WebSocket handshake whose accept value fits the key of RFC 6455 1.3.
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
SWITCHING = (
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """How the origin of a case behaves once it read a request."""

    answer: tuple[bytes, ...] = (OK,)
    "Each piece in a write of its own."
    closes: bool = False
    "It closes after its answer."
    breaks: bool = False
    "It breaks off within its answer: whether the beginning of that still arrives is a matter of time."
    is_stream: bool = False
    "It speaks no HTTP: it answers the first bytes that come."


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A visitor's bytes through the edge. `{host}` in them stands for the name of the case's own rule."""

    name: str
    sent: bytes
    origin: Origin = Origin()
    then: bytes = b""
    "Sent behind a 101."
    settings: Mapping[str, object] = field(default_factory=dict)
    "originRequest of its rule."

    @property
    def host(self) -> str:
        return f"{self.name}.test"

    @property
    def is_head(self) -> bool:
        return self.sent.startswith(b"HEAD ")


@dataclass(frozen=True, slots=True, kw_only=True)
class WireCase:
    """What an edge that is no friend declares on a stream, straight to the connector."""

    name: str
    metadata: tuple[tuple[bytes, bytes], ...]
    dest: str = "http://{host}/"
    kind: ConnectionType = ConnectionType.HTTP
    races: bool = False
    "How much of it an origin sees before it is refused is a matter of time."
    body: bytes = b""
    finish: bool = True
    host: bytes | None = b"{host}"
    method: bytes | None = b"GET"
    origin: Origin = Origin()
    settings: Mapping[str, object] = field(default_factory=dict)
