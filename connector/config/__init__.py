"""What a connector is told: frozen values, and how a config file becomes them."""

from pyconnector.connector.config.load import check_config, find_config, load_config
from pyconnector.connector.config.model import (
    ConnectorConfig,
    Credentials,
    EdgeConfig,
    LifecycleConfig,
    LogConfig,
    RemoteConfig,
)
from pyconnector.connector.config.problems import Problem

__all__ = [
    "ConnectorConfig",
    "Credentials",
    "EdgeConfig",
    "LifecycleConfig",
    "LogConfig",
    "Problem",
    "RemoteConfig",
    "check_config",
    "find_config",
    "load_config",
]
