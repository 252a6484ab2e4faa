"""Carries traffic from an edge to local services over connections that this side opens.

`Connector` is the embedding API; `load_config` reads a config file as written for the reference.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

# Loaded when they are asked for, so that the command line says what it has to say of itself, and takes the collector
# out of the way, before it loads everything else.
_HOMES = {
    "connector.api": ("Connector", "ConnectorStatistics"),
    "connector.config": (
        "ConnectorConfig",
        "Credentials",
        "EdgeConfig",
        "LifecycleConfig",
        "LogConfig",
        "load_config",
    ),
    "connector.errors": ("ConfigError", "ConnectorError", "RegistrationRefused", "ReloadRejected", "StartFailed"),
    "connector.events": (
        "ConfigurationApplied",
        "Connecting",
        "ConnectionInfo",
        "ConnectionState",
        "Disconnected",
        "Event",
        "Reconnecting",
        "Refused",
        "Registered",
        "Unregistered",
    ),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
