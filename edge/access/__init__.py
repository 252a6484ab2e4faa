"""Who may pass at this edge: decided in memory, of what the control plane tells (docs/access-edge.md)."""
