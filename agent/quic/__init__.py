"""QUIC to the gateway: one HTTP/3 connection for all flows, and UDP in its datagrams."""
