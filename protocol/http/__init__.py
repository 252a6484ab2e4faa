"""HTTP heads as stream metadata and as serialized headers."""
