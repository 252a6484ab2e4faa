"""The way into the private network for agents: HTTP CONNECT and SOCKS5, each flow judged and recorded (mesh.md 6)."""
