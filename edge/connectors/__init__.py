"""Connectors as the edge sees them: their connections, their tunnels, and the streams opened to them."""
