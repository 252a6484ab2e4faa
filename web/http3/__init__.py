"""HTTP/3 as bytes (RFC 9114): frames, settings and the numbers of datagrams. Pure."""
