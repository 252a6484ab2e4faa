"""ICMP echo towards private addresses, without privileges (reference/wire.md 13)."""
