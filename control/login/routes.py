"""Where a command fetches the certificate that the page hands out: `/login/KEY`, and `/KEY` as the reference asks."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from starlette.convertors import Convertor, register_url_convertor
from starlette.responses import Response

from pyconnector.control.api.envelope import failure
from pyconnector.control.login.transfers import TooManyWaiting

if TYPE_CHECKING:
    from pyconnector.control.api.guard import Served

router = APIRouter(tags=["Login"])


class _Key(Convertor[str]):
    regex = "[A-Za-z0-9_-]{43}=?"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("login_key", _Key())


@router.get("/login/{key:login_key}")
@router.get("/{key:login_key}", include_in_schema=False)
async def fetch_certificate(request: Request, key: str) -> Response:
    """Return the `cert.pem` that somebody handed out for a key, once; wait a while for it, then answer 404."""
    served: Served = request.scope["pyconnector.served"]
    pem = served.transfers.take(key, time.monotonic())
    if pem is None:
        try:
            await served.transfers.wait(key)
        except TooManyWaiting:
            return failure(429, (1000, "Too many logins are waited for; try again later."))
        pem = served.transfers.take(key, time.monotonic())
    if pem is None:
        return failure(404, (7003, "Nobody has handed out a certificate for that key yet."))
    return Response(pem, media_type="application/x-pem-file", headers={"Cache-Control": "no-store"})
