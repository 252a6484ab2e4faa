"""Congestion control for lossy uplinks: BBR after draft-ietf-ccwg-bbr (working copy of August 2026).

Everything here but `registry` is pure: time is an argument, randomness is injected, and nothing knows a QUIC library.
`transport.quic.aioquic_engine.bbr` carries it into the aioquic engine. docs/congestion.md has the measurements.
"""

from pyconnector.transport.congestion.bbr import Bbr
from pyconnector.transport.congestion.registry import register

__all__ = ["Bbr", "register"]
