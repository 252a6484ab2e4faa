"""HTTP/2 to local services (RFC 9113), over TLS with ALPN or with prior knowledge (h2c); what gRPC needs."""

from pyconnector.origins.http2.origin import Http2Origin

__all__ = ["Http2Origin"]
