"""Congestion controllers side by side on a simulated path: real aioquic connections, virtual time, no sockets.

`python -m bench.congestion` writes docs/congestion.md and docs/img/congestion.svg.
"""
