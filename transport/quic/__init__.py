"""QUIC for either end: `connect` to a listener, or `listen` for connectors. Two engines do the packets."""

from pyconnector.transport.quic.engines import connect, engine_name, listen, load_engine

__all__ = ["connect", "engine_name", "listen", "load_engine"]
