"""SOCKS5 and HTTP CONNECT, without I/O: for the edge's gateway and for the local proxy of an agent."""
