"""The edge's end of an IP tunnel: packets of a client in, TCP connections, UDP and echo requests out. Pure.

Time, randomness and addresses are arguments, so nothing here needs a right, a socket or a clock.
"""
