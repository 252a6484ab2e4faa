"""A local edge: accepts connectors over QUIC, serves visitors over HTTP and TCP, and plays tricks on request."""

from pyconnector.edge.local_edge import LocalEdge
from pyconnector.edge.settings import (
    ControlSettings,
    EdgeSettings,
    SettingsError,
    TcpPort,
    TunnelSettings,
    VisitorSettings,
)

__all__ = [
    "ControlSettings",
    "EdgeSettings",
    "LocalEdge",
    "SettingsError",
    "TcpPort",
    "TunnelSettings",
    "VisitorSettings",
]
