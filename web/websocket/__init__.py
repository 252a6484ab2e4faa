"""WebSocket (RFC 6455), for either end: the handshake and frames."""
