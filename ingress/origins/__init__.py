"""The I/O towards local services."""
