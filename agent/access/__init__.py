"""Applications behind Access, reached from elsewhere: TCP by WebSocket, and tokens (reference/cli.md 5)."""
