"""Access in the API: `/accounts/{a}/access/...` (docs/access-edge.md)."""
