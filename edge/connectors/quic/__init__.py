"""The QUIC form of the tunnel protocol at the edge: requests as data streams (wire.md 3, 6 to 9)."""
