"""One record of each request, WebSocket and TCP stream, in files whose lines are chained (docs/access-edge.md)."""
