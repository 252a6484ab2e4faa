"""The private network at the edge: which tunnel serves an address, and flows to it (reference/wire.md 9 to 13)."""
