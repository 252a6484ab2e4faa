"""CONNECT-IP at the gateway (RFC 9484): packets of a client become TCP, UDP and pings of the private network."""
