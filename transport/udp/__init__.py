"""Batched UDP sockets for the QUIC engines."""
