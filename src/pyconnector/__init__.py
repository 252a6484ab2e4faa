"""pyconnector: publish services of a private machine without opening a port on it.

The public API of the package. Every name in `__all__` is typed and documented in docs: embedding.md; what is not in it
may change at any time.

`Connector` carries traffic of a tunnel to local services; `load_config` reads a config file as written for
cloudflared; `LocalEdge` is the other end, to try, test or host a tunnel on.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyconnector.connector.api.connector import Connector
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
    from pyconnector.connector.api.statistics import ConnectorStatistics
    from pyconnector.connector.config import (
        ConnectorConfig,
        Credentials,
        EdgeConfig,
        LifecycleConfig,
        LogConfig,
        load_config,
    )
    from pyconnector.connector.config.model import ManagementConfig, PrivateConfig, RemoteConfig
    from pyconnector.connector.config.problems import Problem
    from pyconnector.connector.discovery.places import Discovery
    from pyconnector.connector.observe.access_log import AccessLog
    from pyconnector.connector.observe.observer import Observer, RequestRecord
    from pyconnector.connector.observe.rule_metrics import RuleCounts, RuleMetrics
    from pyconnector.edge import (
        AuditSettings,
        CertificatePair,
        ControlSettings,
        DirectorySettings,
        EdgeSettings,
        JoinSettings,
        LocalEdge,
        PinSettings,
        PrivateHostname,
        PrivateRoute,
        SettingsError,
        TcpPort,
        TunnelSettings,
        VisitorSettings,
    )
    from pyconnector.edge.private.gateway.settings import GatewaySettings
    from pyconnector.identity.access_token import Identity
    from pyconnector.identity.network_rules import NetworkRule
    from pyconnector.identity.service_tokens import SecretDigest, ServiceToken
    from pyconnector.ingress import Ingress, IngressError, OriginSettings, Rule, WarpRouting, parse_ingress
    from pyconnector.ingress.config.errors import RuleProblem
    from pyconnector.ingress.config.services import Service
    from pyconnector.ingress.config.settings import AccessSettings
    from pyconnector.ingress.rules.rules import Match
    from pyconnector.origins.base import (
        ByteReader,
        Headers,
        Origin,
        OriginError,
        OriginRequest,
        OriginResponse,
        RequestKind,
    )
    from pyconnector.origins.layers.base import Gate, Layer, LayeredOrigin, Rejection
    from pyconnector.protocol.rpc.registration_values import Refusal
    from pyconnector.transport.proxy.address import Proxy
    from pyconnector.transport.proxy.bypass import NoProxy
    from pyconnector.transport.settings import QuicSettings

# Loaded when they are asked for, so that the command line says what it has to say of itself, and takes the collector
# out of the way, before it loads everything else.
_HOMES = {
    "connector.api.connector": ("Connector",),
    "connector.api.statistics": ("ConnectorStatistics",),
    "connector.api.errors": ("ConfigError", "ConnectorError", "RegistrationRefused", "ReloadRejected", "StartFailed"),
    "connector.api.events": (
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
    "connector.config": ("ConnectorConfig", "Credentials", "EdgeConfig", "LifecycleConfig", "LogConfig", "load_config"),
    "connector.config.model": ("ManagementConfig", "PrivateConfig", "RemoteConfig"),
    "connector.config.problems": ("Problem",),
    "connector.discovery.places": ("Discovery",),
    "connector.observe.access_log": ("AccessLog",),
    "connector.observe.observer": ("Observer", "RequestRecord"),
    "connector.observe.rule_metrics": ("RuleCounts", "RuleMetrics"),
    "edge": (
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
    ),
    "edge.private.gateway.settings": ("GatewaySettings",),
    "identity.access_token": ("Identity",),
    "identity.network_rules": ("NetworkRule",),
    "identity.service_tokens": ("SecretDigest", "ServiceToken"),
    "ingress": ("Ingress", "IngressError", "OriginSettings", "Rule", "WarpRouting", "parse_ingress"),
    "ingress.config.errors": ("RuleProblem",),
    "ingress.config.services": ("Service",),
    "ingress.config.settings": ("AccessSettings",),
    "ingress.rules.rules": ("Match",),
    "origins.base": (
        "ByteReader",
        "Headers",
        "Origin",
        "OriginError",
        "OriginRequest",
        "OriginResponse",
        "RequestKind",
    ),
    "origins.layers.base": ("Gate", "Layer", "LayeredOrigin", "Rejection"),
    "protocol.rpc.registration_values": ("Refusal",),
    "transport.proxy.address": ("Proxy",),
    "transport.proxy.bypass": ("NoProxy",),
    "transport.settings": ("QuicSettings",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AccessLog",
    "AccessSettings",
    "AuditSettings",
    "ByteReader",
    "CertificatePair",
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
    "DirectorySettings",
    "Disconnected",
    "Discovery",
    "EdgeConfig",
    "EdgeSettings",
    "Event",
    "Gate",
    "GatewaySettings",
    "Headers",
    "Identity",
    "Ingress",
    "IngressError",
    "JoinSettings",
    "Layer",
    "LayeredOrigin",
    "LifecycleConfig",
    "LocalEdge",
    "LogConfig",
    "ManagementConfig",
    "Match",
    "NetworkRule",
    "NoProxy",
    "Observer",
    "Origin",
    "OriginError",
    "OriginRequest",
    "OriginResponse",
    "OriginSettings",
    "PinSettings",
    "PrivateConfig",
    "PrivateHostname",
    "PrivateRoute",
    "Problem",
    "Proxy",
    "QuicSettings",
    "Reconnecting",
    "Refusal",
    "Refused",
    "Registered",
    "RegistrationRefused",
    "Rejection",
    "ReloadRejected",
    "RemoteConfig",
    "RequestKind",
    "RequestRecord",
    "Rule",
    "RuleCounts",
    "RuleMetrics",
    "RuleProblem",
    "SecretDigest",
    "Service",
    "ServiceToken",
    "SettingsError",
    "StartFailed",
    "TcpPort",
    "TunnelSettings",
    "Unregistered",
    "VisitorSettings",
    "WarpRouting",
    "load_config",
    "parse_ingress",
]

if not TYPE_CHECKING:  # a type checker knows the names from above, and so what is misspelt

    def __getattr__(name: str) -> object:
        home = _HOME_OF.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{home}"), name)
