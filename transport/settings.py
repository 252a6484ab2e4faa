"""What a QUIC transport is told when it connects or listens. Values are those of reference/wire.md 1 and 2."""

from __future__ import annotations

from dataclasses import dataclass, field

#: ALPN of the tunnel protocol (wire.md 1).
ALPN = "argotunnel"
#: SNI and verified name of the edge over QUIC (wire.md 1).
EDGE_SERVER_NAME = "quic.cftunnel.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class QuicSettings:
    """Limits and timers of a QUIC connection. Times in seconds, sizes in bytes."""

    engine: str = "auto"
    "auto, aioquic or qh3."
    congestion_control: str = "auto"
    "auto, bbr, cubic or reno; only the aioquic engine can be told."
    idle_timeout: float = 5.0
    handshake_timeout: float = 10.0
    keepalive: float = 1.0
    connection_window: int = 30 * 1024 * 1024
    stream_window: int = 6 * 1024 * 1024
    initial_connection_window: int = 30 * 1024 * 1024
    "Whole from the start, so that streams whose readers stall leave the others credit."
    initial_stream_window: int = 64 * 1024
    "What each of many stalled streams may hold; a reader that keeps up with the path soon has more."
    incoming_streams: int = 1 << 60
    incoming_unidirectional: int = 0
    "Streams of one direction that the peer may open, ever: the tunnel protocol has none, HTTP/3 a few."
    datagram_frame_size: int = 16383
    initial_packet_size: int = 1232
    largest_packet_size: int = 16384
    "Largest UDP payload that the path is probed for; the same as `initial_packet_size` for no probing."
    socket_buffer: int = 7 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTls:
    """How the connector verifies an edge."""

    server_name: str = EDGE_SERVER_NAME
    alpn: str = ALPN
    ca_file: str | None = None
    "PEM file that replaces the system roots; None for the system roots."
    post_quantum_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTls:
    """What an edge shows. PEM bytes; the key never appears in a repr."""

    certificate_chain: bytes
    private_key: bytes = field(repr=False)
    alpn: str = ALPN
