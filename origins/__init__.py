"""The I/O towards local services: one origin per kind of service, built from a rule's service and settings."""

from __future__ import annotations

from pyconnector.origins.base import (
    ByteReader,
    Headers,
    Origin,
    OriginError,
    OriginRequest,
    OriginResponse,
    RequestKind,
)
from pyconnector.origins.build import OriginResources, build_origin
from pyconnector.origins.tcp.private import PrivateTcpOrigin

__all__ = [
    "ByteReader",
    "Headers",
    "Origin",
    "OriginError",
    "OriginRequest",
    "OriginResources",
    "OriginResponse",
    "PrivateTcpOrigin",
    "RequestKind",
    "build_origin",
]
