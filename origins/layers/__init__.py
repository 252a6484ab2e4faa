"""Layers around an origin: access, rewriting, failover, and those of an embedding program, all of one shape."""
