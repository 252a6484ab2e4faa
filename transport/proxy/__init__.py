"""TCP connections through a proxy: HTTP CONNECT and SOCKS5. The handshakes are pure; `dial.py` has the sockets."""
