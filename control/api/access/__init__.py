"""Access in the API: `/accounts/{a}/access/...` (docs/operate/access-edge.md)."""
