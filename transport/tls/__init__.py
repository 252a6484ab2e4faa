"""Certificates of edges, and who vouches for them."""
