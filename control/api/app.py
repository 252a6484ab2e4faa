"""The whole API as one application."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, FastAPI

from pyconnector.control.api import errors
from pyconnector.control.api.guard import Guard
from pyconnector.control.api.routes import (
    accounts,
    audit,
    configurations,
    connections,
    dns,
    edges,
    hostname_routes,
    ip_routes,
    management,
    tokens,
    tunnels,
    virtual_networks,
)

if TYPE_CHECKING:
    from pyconnector.control.store.database import Database
    from pyconnector.control.store.feed import ChangeFeed
    from pyconnector.control.store.objects.first import Installation

#: Where clients expect the API; edges ask elsewhere.
CLIENT_PREFIX = "/client/v4"
EDGE_PREFIX = "/edge/v1"


def make_app(database: Database, feed: ChangeFeed, installation: Installation) -> FastAPI:
    """Return the application. `/docs` and `/openapi.json` describe it."""
    app = FastAPI(
        title="pyconnector control plane",
        version="4",
        description="A subset of API v4 for tunnels, names and private networks; docs/mesh.md has the whole story.",
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.database = database
    app.state.feed = feed
    app.state.installation = installation
    errors.install(app)
    clients = APIRouter(prefix=CLIENT_PREFIX)
    for part in (
        accounts, tokens, tunnels, connections, configurations, management, dns, ip_routes, virtual_networks,
        hostname_routes, audit,
    ):  # fmt: skip
        clients.include_router(part.router)
    app.include_router(clients)
    app.include_router(edges.router, prefix=EDGE_PREFIX)
    app.add_middleware(Guard, database=lambda: database)
    return app
