"""The virtual DNS service of the private network (reference/wire.md 9, lifecycle.md 6)."""
