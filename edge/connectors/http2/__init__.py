"""The HTTP/2 form of the tunnel protocol at the edge: requests as HTTP/2 requests (wire.md 14)."""
