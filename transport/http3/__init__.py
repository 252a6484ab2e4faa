"""HTTP/3 (RFC 9114) over a QUIC connection: requests as streams, and their datagrams (RFC 9297)."""

from pyconnector.transport.http3.connection import Http3Connection
from pyconnector.transport.http3.stream import Http3Stream

__all__ = ["Http3Connection", "Http3Stream"]
