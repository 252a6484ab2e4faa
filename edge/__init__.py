"""A local edge: accepts connectors over QUIC, serves visitors over HTTP and TCP, and plays tricks on request."""

from pyconnector.edge.access.login.sinks import PinSettings
from pyconnector.edge.audit.log import AuditSettings
from pyconnector.edge.local_edge import LocalEdge
from pyconnector.edge.settings import (
    CertificatePair,
    ControlSettings,
    DirectorySettings,
    EdgeSettings,
    JoinSettings,
    PrivateHostname,
    PrivateRoute,
    SettingsError,
    TcpPort,
    TunnelSettings,
    VisitorSettings,
)

__all__ = [
    "AuditSettings",
    "CertificatePair",
    "ControlSettings",
    "DirectorySettings",
    "EdgeSettings",
    "JoinSettings",
    "LocalEdge",
    "PinSettings",
    "PrivateHostname",
    "PrivateRoute",
    "SettingsError",
    "TcpPort",
    "TunnelSettings",
    "VisitorSettings",
]
