"""People log in at the edge: by a one-time PIN, or by an OpenID provider (docs/access-edge.md)."""
