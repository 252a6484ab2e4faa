"""How each error is answered: a status that the reference knows, a number and a sentence."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from pyconnector.control.api.context import Forbidden
from pyconnector.control.api.envelope import failure
from pyconnector.control.store.errors import Conflict, Invalid, NotFound, StoreUnavailable

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request
    from starlette.responses import JSONResponse

#: Mistakes of one request that are told.
MAX_TOLD = 10

_log = logging.getLogger("pyconnector.control")


def install(app: FastAPI) -> None:
    """Let `app` answer errors so."""

    @app.exception_handler(NotFound)
    async def not_found(_: Request, error: NotFound) -> JSONResponse:
        return failure(404, (error.code, str(error)))

    @app.exception_handler(Conflict)
    async def conflict(_: Request, error: Conflict) -> JSONResponse:
        return failure(409, (error.code, str(error)))

    @app.exception_handler(Invalid)
    async def invalid(_: Request, error: Invalid) -> JSONResponse:
        return failure(400, (error.code, str(error)))

    @app.exception_handler(Forbidden)
    async def forbidden(_: Request, error: Forbidden) -> JSONResponse:
        return failure(403, (10_000, f"Authentication error: {error}"))

    @app.exception_handler(StoreUnavailable)
    async def unavailable(_: Request, error: StoreUnavailable) -> JSONResponse:
        if error.__cause__ is not None:
            _log.error("%s %r", error, error.__cause__)
        return failure(503, (1000, str(error)))

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        return failure(400, *_mistakes(request, error))

    @app.exception_handler(HTTPException)
    async def routing(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 404:
            return failure(404, (7003, f"There is no {request.url.path[:200]} here; docs/mesh.md says what there is."))
        if error.status_code == 405:
            return failure(405, (7001, f"{request.method} is not for that path."))
        return failure(error.status_code, (1000, str(error.detail)[:500]))

    @app.exception_handler(Exception)
    async def failed(request: Request, _: Exception) -> JSONResponse:
        return failure(500, (1000, "The control plane failed; its log says why."))


def _mistakes(request: Request, error: RequestValidationError) -> list[tuple[int, str]]:
    # What curl -d says by itself: the body was then not looked into.
    if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return [(1001, "body: it is JSON, sent with Content-Type: application/json.")]
    return [(1001, f"{_place(fault['loc'])}: {fault['msg']}.") for fault in error.errors()[:MAX_TOLD]]


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location)[:200]
