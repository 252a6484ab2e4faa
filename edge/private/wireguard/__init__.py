"""Devices that come over WireGuard: a UDP port for each, and their flows, judged and recorded as the gateway's."""
