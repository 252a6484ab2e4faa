"""Both versions of the datagram protocol from the edge's side (reference/wire.md 10 to 12)."""
