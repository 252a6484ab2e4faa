"""What the metrics server shows of one Connector (reference/lifecycle.md 8)."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from pyconnector.connector.background import in_background
from pyconnector.connector.observe.server import diagnostics
from pyconnector.connector.observe.server.metrics_server import (
    JSON_TYPE,
    TEXT_TYPE,
    Answer,
    Page,
    json_answer,
    metrics_answer,
)

if TYPE_CHECKING:
    from pyconnector.connector.active.orchestrator import Orchestrator
    from pyconnector.connector.api.connector import Connector
    from pyconnector.connector.workers.fleet import Fleet


def status_pages(connector: Connector, orchestrator: Orchestrator) -> dict[str, Page]:
    """Return the pages by path; each is made when it is asked for."""

    def metrics() -> Answer:
        from pyconnector.connector.observe.metrics import exposition  # only once somebody watches: the library is large

        return metrics_answer(exposition(connector.registry.collect()))

    async def config() -> Answer:
        return HTTPStatus.OK, JSON_TYPE, await orchestrator.shown_configuration() + b"\n"

    return {**common_pages(connector), "/metrics": metrics, "/config": config}


def common_pages(connector: Connector | Fleet) -> dict[str, Page]:
    """Return the pages that are the same whether the connections are in this process or in others."""

    def ready() -> Answer:
        connected = connector.tracker.connected
        status = HTTPStatus.OK if connected else HTTPStatus.SERVICE_UNAVAILABLE
        value = {
            "status": status.value,
            "readyConnections": connected,
            "connectorId": str(connector.connector_id),
        }
        return json_answer(value, status)

    async def system() -> Answer:
        return json_answer(await in_background(diagnostics.system))

    return {
        "/ready": ready,
        "/healthcheck": lambda: (HTTPStatus.OK, TEXT_TYPE, b"OK\n"),
        "/quicktunnel": lambda: json_answer({"hostname": ""}),
        "/diag/tunnel": lambda: json_answer(diagnostics.tunnel_state(connector)),
        "/diag/configuration": lambda: json_answer(diagnostics.configuration(connector)),
        "/diag/system": system,
        "/diag/tasks": lambda: (HTTPStatus.OK, TEXT_TYPE, diagnostics.tasks().encode()),
    }
