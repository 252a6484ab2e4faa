"""The HTTP/2 form of the tunnel protocol: requests of the edge as exchanges (wire.md 14)."""
