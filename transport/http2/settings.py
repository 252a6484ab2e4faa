"""What an HTTP/2 transport is told, and what it tells its peer (wire.md 14)."""

from __future__ import annotations

from dataclasses import dataclass

#: SNI and verified name of the edge over HTTP/2 (wire.md 1).
EDGE_SERVER_NAME = "h2.cftunnel.com"
#: Seconds for the TCP connection and the TLS handshake together (wire.md 1).
DIAL_TIMEOUT = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Http2Settings:
    """Limits and timers of one end. Times in seconds, sizes in bytes."""

    dial_timeout: float = DIAL_TIMEOUT
    "For the connection, the way through a proxy, and the TLS handshake together."
    max_streams: int = 12_000
    "Streams that the peer may have open at once; what goes beyond is refused one by one."
    max_header_list: int = 256 * 1024
    "Of one field section, each field counted with 32 more (RFC 9113 6.5.2); more ends the connection."
    max_frame: int = 1024 * 1024
    "Longest payload that the peer may send in one frame."
    initial_stream_window: int = 128 * 1024
    "What each of many stalled streams may hold; a reader that keeps up with the path soon has more."
    stream_window: int = 6 * 1024 * 1024
    connection_window: int = 30 * 1024 * 1024
    "Whole from the start, so that streams whose readers stall leave the others credit."
    keepalive: float = 5.0
    "Silence after which the peer is asked for a sign of life."
    idle_timeout: float = 15.0
    "Silence after which the connection is given up."
    extended_connect: bool = False
    "Whether requests may extend CONNECT (RFC 8441); a server's to say."
    resets: tuple[int, float] | None = None
    "Streams that the peer may take back (CVE-2023-44487), at once and each second; None for what a connector may."
    idle_frames: tuple[int, float] | None = None
    "Frames that carry nothing but want work, of whatever kind, likewise."


#: The connector's end: the edge sends requests.
SERVER_SETTINGS = Http2Settings()
#: The edge's end: a connector's response header may be as long as its serialized form may be, and some more.
CLIENT_SETTINGS = Http2Settings(max_streams=0, max_header_list=512 * 1024)
