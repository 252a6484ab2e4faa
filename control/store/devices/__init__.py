"""Devices of the mesh in the database: their records, and their addresses."""
