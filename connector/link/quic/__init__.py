"""The QUIC form of the tunnel protocol: data streams as exchanges (wire.md 3, 6 to 9)."""
