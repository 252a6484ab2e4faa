"""UDP towards private services (reference/wire.md 11 and 12)."""
