"""What a Connector tells of itself in figures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorStatistics:
    """Figures of a Connector since it started."""

    connected: int
    active_requests: int
    total_requests: int
    request_errors: int
    configuration_version: int
