"""Devices of the mesh in the API."""
