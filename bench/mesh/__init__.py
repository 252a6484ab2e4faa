"""How a mesh does with many objects, and what a request by way of another edge costs."""
