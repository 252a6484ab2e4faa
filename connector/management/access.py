"""The management service as the request path sees it: loaded when it is first asked for, which it seldom is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pyconnector.identity.management_token import FED_HOSTNAME, HOSTNAME

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.connector.api.connector import Connector
    from pyconnector.connector.management.service import ManagementService
    from pyconnector.connector.observe.server.metrics_server import Page
    from pyconnector.connector.workers.share import Share
    from pyconnector.origins.base import ByteReader, OriginRequest, OriginResponse


class Management(Protocol):
    """What answers under a name of its own, before any rule."""

    @property
    def hostname(self) -> str:
        """The name."""

    async def serve(self, request: OriginRequest, body: ByteReader) -> OriginResponse:
        """Answer one request. Cancel at any time."""

    def end(self) -> None:
        """The connector ends: nothing lasts here any longer. Idempotent."""


class ManagementAccess:
    """Makes the service with the first request for it."""

    def __init__(self, hostname: str, make: Callable[[], ManagementService]) -> None:
        self.hostname = hostname
        self._make = make
        self._service: ManagementService | None = None

    async def serve(self, request: OriginRequest, body: ByteReader) -> OriginResponse:
        """See `Management`."""
        if self._service is None:
            self._service = self._make()
        return await self._service.serve(request, body)

    def end(self) -> None:
        """See `Management`."""
        if self._service is not None:
            self._service.end()


def management_of(connector: Connector, metrics: Page, share: Share) -> Management | None:
    """Return the service of `connector`, if it is to have one; `metrics` makes its page of figures.

    Where it is one of several processes, `share` knows the log and the figures of all.
    """
    config = connector.config
    if not config.management.enabled:
        return None

    def make() -> ManagementService:
        from pyconnector.connector.management.service import ManagementService

        return ManagementService(
            tunnel_id=config.credentials.tunnel_id,
            connector_id=connector.connector_id,
            label=config.label,
            metrics=(share.metrics or metrics) if config.management.diagnostics else None,
            edge_address=lambda: next((each.peer_address for each in connector.edge_connections().values()), None),
            elsewhere=share.logs,
        )

    return ManagementAccess(FED_HOSTNAME if config.credentials.endpoint == "fed" else HOSTNAME, make)
