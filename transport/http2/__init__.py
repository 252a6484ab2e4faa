"""Requests over TLS and HTTP/2, for either end (wire.md 14): one connection, its streams, and how both come to be."""

from pyconnector.transport.http2.connection import Http2Connection
from pyconnector.transport.http2.dial import connect
from pyconnector.transport.http2.listen import server_context, show_certificate
from pyconnector.transport.http2.settings import CLIENT_SETTINGS, SERVER_SETTINGS, Http2Settings
from pyconnector.transport.http2.socket import Http2Socket
from pyconnector.transport.http2.stream import Http2Stream

__all__ = [
    "CLIENT_SETTINGS",
    "SERVER_SETTINGS",
    "Http2Connection",
    "Http2Settings",
    "Http2Socket",
    "Http2Stream",
    "connect",
    "server_context",
    "show_certificate",
]
