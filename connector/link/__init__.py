"""Sessions with the edge: dial, register, serve, reconnect, drain."""
