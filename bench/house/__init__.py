"""What is measured, in processes of its own: edge, origin and connector."""
