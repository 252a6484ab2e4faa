"""Layers around an origin: rewriting and failover."""
