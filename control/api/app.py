"""The whole API as one application."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from fastapi import APIRouter, FastAPI

from pyconnector.control.api import errors
from pyconnector.control.api.access import (
    applications,
    grants,
    identity_providers,
    network_rules,
    organizations,
    policies,
    service_tokens,
    users,
)
from pyconnector.control.api.devices import registrations
from pyconnector.control.api.guard import Guard, Served
from pyconnector.control.api.logs import access_requests, logpush
from pyconnector.control.api.routes import (
    accounts,
    audit,
    configurations,
    connections,
    dialling,
    dns,
    edges,
    hostname_routes,
    ip_routes,
    management,
    quick,
    tokens,
    tunnels,
    virtual_networks,
)
from pyconnector.control.login import routes as login
from pyconnector.control.page import login as login_page
from pyconnector.control.page import routes as page

if TYPE_CHECKING:
    from starlette.types import ASGIApp


#: Where clients expect the API; edges ask elsewhere.
CLIENT_PREFIX = "/client/v4"
EDGE_PREFIX = "/edge/v1"


def make_app(served: Served) -> ASGIApp:
    """Return the application for one control plane. `/docs` and `/openapi.json` describe it."""
    return Guard(_application(), served)


@cache
def _application() -> FastAPI:
    # One for all control planes of this process, since it takes longer to build than everything else at a start: whose
    # objects a request is about is in its scope.
    app = FastAPI(
        title="pyconnector control plane",
        version="4",
        description="A subset of API v4 for tunnels, names and private networks; docs/mesh.md says more.",
        redoc_url=None,
        redirect_slashes=False,
    )
    errors.install(app)
    clients = APIRouter(prefix=CLIENT_PREFIX)
    for part in (
        accounts, tokens, tunnels, connections, configurations, management, dialling, dns, ip_routes, virtual_networks,
        hostname_routes, audit, service_tokens, policies, applications, organizations, network_rules, grants,
        identity_providers, users, access_requests, logpush, registrations,
    ):  # fmt: skip
        clients.include_router(part.router)
    app.include_router(clients)
    app.include_router(edges.router, prefix=EDGE_PREFIX)
    app.include_router(quick.router)
    app.include_router(login.router)
    app.include_router(page.router)
    app.include_router(login_page.router)
    return app
