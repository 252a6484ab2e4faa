"""UDP of the private network: sessions over QUIC datagrams, in the protocol's versions 2 and 3 (wire.md 10 to 12)."""
