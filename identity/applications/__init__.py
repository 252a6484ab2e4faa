"""Applications: which host and path belong to which. Pure, and without any library."""
