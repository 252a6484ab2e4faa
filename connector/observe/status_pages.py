"""What the metrics server shows of one Connector (reference/lifecycle.md 8)."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from pyconnector.connector.background import in_background
from pyconnector.connector.observe import diagnostics
from pyconnector.connector.observe.metrics_server import JSON_TYPE, TEXT_TYPE, Answer, Page, json_answer, metrics_answer

if TYPE_CHECKING:
    from pyconnector.connector.active.orchestrator import Orchestrator
    from pyconnector.connector.api.connector import Connector


def status_pages(connector: Connector, orchestrator: Orchestrator) -> dict[str, Page]:
    """Return the pages by path; each is made when it is asked for."""

    def ready() -> Answer:
        connected = connector.tracker.connected
        status = HTTPStatus.OK if connected else HTTPStatus.SERVICE_UNAVAILABLE
        value = {
            "status": status.value,
            "readyConnections": connected,
            "connectorId": str(connector.connector_id),
        }
        return json_answer(value, status)

    def metrics() -> Answer:
        from pyconnector.connector.observe.metrics import exposition  # only once somebody watches: the library is large

        return metrics_answer(exposition(connector.registry))

    async def config() -> Answer:
        return HTTPStatus.OK, JSON_TYPE, await orchestrator.shown_configuration() + b"\n"

    async def system() -> Answer:
        return json_answer(await in_background(diagnostics.system))

    return {
        "/diag/tunnel": lambda: json_answer(diagnostics.tunnel_state(connector)),
        "/diag/configuration": lambda: json_answer(diagnostics.configuration(connector)),
        "/diag/system": system,
        "/diag/tasks": lambda: (HTTPStatus.OK, TEXT_TYPE, diagnostics.tasks().encode()),
        "/metrics": metrics,
        "/ready": ready,
        "/healthcheck": lambda: (HTTPStatus.OK, TEXT_TYPE, b"OK\n"),
        "/config": config,
        "/quicktunnel": lambda: json_answer({"hostname": ""}),
    }
