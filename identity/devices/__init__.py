"""Devices of a mesh: their addresses, and what WireGuard needs to know of them. Pure."""
