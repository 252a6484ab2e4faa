"""Multiplexed byte streams and datagrams towards one peer, over QUIC (two engines), HTTP/2 or memory.

`transport.seam` says what every one of them offers, `transport.errors` what they raise.
"""
