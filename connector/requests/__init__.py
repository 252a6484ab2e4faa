"""One request from the edge: its rule, its origin, its response."""
