"""pyconnector: publish services of a private machine without opening a port on it.

The public API of the package. Every name in `__all__` is typed and documented in docs/embedding.md; what is not in it
may change at any time.

`Connector` carries traffic of a tunnel to local services; `load_config` reads a config file as written for
cloudflared; `LocalEdge` is the other end, to try, test or host a tunnel on.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyconnector.connector.api.connector import Connector, ConnectorStatistics
    from pyconnector.connector.api.errors import (
        ConfigError,
        ConnectorError,
        RegistrationRefused,
        ReloadRejected,
        StartFailed,
    )
    from pyconnector.connector.api.events import (
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
    from pyconnector.connector.config import (
        ConnectorConfig,
        Credentials,
        EdgeConfig,
        LifecycleConfig,
        LogConfig,
        load_config,
    )
    from pyconnector.connector.observe.access_log import AccessLog
    from pyconnector.connector.observe.observer import Observer, RequestRecord
    from pyconnector.connector.observe.rule_metrics import RuleMetrics
    from pyconnector.edge import (
        ControlSettings,
        EdgeSettings,
        LocalEdge,
        SettingsError,
        TcpPort,
        TunnelSettings,
        VisitorSettings,
    )
    from pyconnector.ingress import Ingress, IngressError, OriginSettings, Rule, parse_ingress
    from pyconnector.origins.base import ByteReader, Origin, OriginError, OriginRequest, OriginResponse, RequestKind
    from pyconnector.origins.layers.base import Gate, Layer, LayeredOrigin, Rejection

__all__ = [
    "AccessLog",
    "ByteReader",
    "ConfigError",
    "ConfigurationApplied",
    "Connecting",
    "ConnectionInfo",
    "ConnectionState",
    "Connector",
    "ConnectorConfig",
    "ConnectorError",
    "ConnectorStatistics",
    "ControlSettings",
    "Credentials",
    "Disconnected",
    "EdgeConfig",
    "EdgeSettings",
    "Event",
    "Gate",
    "Ingress",
    "IngressError",
    "Layer",
    "LayeredOrigin",
    "LifecycleConfig",
    "LocalEdge",
    "LogConfig",
    "Observer",
    "Origin",
    "OriginError",
    "OriginRequest",
    "OriginResponse",
    "OriginSettings",
    "Reconnecting",
    "Refused",
    "Registered",
    "RegistrationRefused",
    "Rejection",
    "ReloadRejected",
    "RequestKind",
    "RequestRecord",
    "Rule",
    "RuleMetrics",
    "SettingsError",
    "StartFailed",
    "TcpPort",
    "TunnelSettings",
    "Unregistered",
    "VisitorSettings",
    "load_config",
    "parse_ingress",
]

# Loaded when they are asked for, so that the command line says what it has to say of itself, and takes the collector
# out of the way, before it loads everything else.
_HOMES = {
    "pyconnector.edge": (
        "ControlSettings",
        "EdgeSettings",
        "LocalEdge",
        "SettingsError",
        "TcpPort",
        "TunnelSettings",
        "VisitorSettings",
    ),
    "pyconnector.ingress": ("Ingress", "IngressError", "OriginSettings", "Rule", "parse_ingress"),
    "pyconnector.origins.base": (
        "ByteReader",
        "Origin",
        "OriginError",
        "OriginRequest",
        "OriginResponse",
        "RequestKind",
    ),
    "pyconnector.connector.observe.access_log": ("AccessLog",),
    "pyconnector.connector.observe.observer": ("Observer", "RequestRecord"),
    "pyconnector.connector.observe.rule_metrics": ("RuleMetrics",),
    "pyconnector.origins.layers.base": ("Gate", "Layer", "LayeredOrigin", "Rejection"),
    "pyconnector.connector.api.connector": ("Connector", "ConnectorStatistics"),
    "pyconnector.connector.config": (
        "ConnectorConfig",
        "Credentials",
        "EdgeConfig",
        "LifecycleConfig",
        "LogConfig",
        "load_config",
    ),
    "pyconnector.connector.api.errors": (
        "ConfigError",
        "ConnectorError",
        "RegistrationRefused",
        "ReloadRejected",
        "StartFailed",
    ),
    "pyconnector.connector.api.events": (
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
