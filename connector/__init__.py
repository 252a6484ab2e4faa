"""Carries traffic from an edge to local services over connections that this side opens.

`Connector` is the embedding API; `load_config` reads a config file as written for the reference.
"""

from connector.api import Connector, ConnectorStatistics
from connector.config import (
    ConnectorConfig,
    Credentials,
    EdgeConfig,
    LifecycleConfig,
    LogConfig,
    load_config,
)
from connector.errors import ConfigError, ConnectorError, RegistrationRefused, ReloadRejected, StartFailed
from connector.events import (
    ConfigurationApplied,
    Connecting,
    ConnectionInfo,
    ConnectionState,
    Disconnected,
    Event,
    Reconnecting,
    Refused,
    Registered,
    Unregistered,
)

__all__ = [
    "ConfigError",
    "ConfigurationApplied",
    "Connecting",
    "ConnectionInfo",
    "ConnectionState",
    "Connector",
    "ConnectorConfig",
    "ConnectorError",
    "ConnectorStatistics",
    "Credentials",
    "Disconnected",
    "EdgeConfig",
    "Event",
    "LifecycleConfig",
    "LogConfig",
    "Reconnecting",
    "Refused",
    "Registered",
    "RegistrationRefused",
    "ReloadRejected",
    "StartFailed",
    "Unregistered",
    "load_config",
]
