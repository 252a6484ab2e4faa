"""Tokens for the management service of a connector: `/accounts/{a}/cfd_tunnel/{t}/management`."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter
from joserfc import jwt
from joserfc.jwk import ECKey
from pydantic import Field
from starlette.responses import JSONResponse

from pyconnector.control.api.context import Ctx, needs
from pyconnector.control.api.envelope import success
from pyconnector.control.api.fields import Body, Id
from pyconnector.control.store.objects import tunnels

#: Seconds that such a token is valid.
LIFETIME = 3600
Resource = Literal["logs", "admin", "host_details"]
router = APIRouter(tags=["Management"])


class Resources(Body):
    """What the token is to be for."""

    resources: Annotated[list[Resource], Field(min_length=1, max_length=3)]


@router.post("/accounts/{account_id}/cfd_tunnel/{tunnel_id}/management", dependencies=[needs("tunnels:edit")])
async def create_management_token(context: Ctx, tunnel_id: Id, body: Resources) -> JSONResponse:
    """Make a token, as the SDKs ask for it."""
    return await _token(context, tunnel_id, list(body.resources))


@router.post(
    "/accounts/{account_id}/cfd_tunnel/{tunnel_id}/management/{resource}", dependencies=[needs("tunnels:edit")]
)
async def create_management_token_for(context: Ctx, tunnel_id: Id, resource: Resource) -> JSONResponse:
    """Make a token, as the reference asks for it."""
    return await _token(context, tunnel_id, [resource])


async def _token(context: Ctx, tunnel_id: str, resources: list[Resource]) -> JSONResponse:
    async with context.read() as session:
        tunnel = await tunnels.find(session, context.account_id, tunnel_id)
    issued = int(context.now.timestamp())
    claims = {
        "iss": "tunnelstore",
        "iat": issued,
        "exp": issued + LIFETIME,
        "tun": {"id": tunnel.id, "account_tag": tunnel.account_id},
        "actor": {"id": context.actor.token_id, "support": False},
        "res": [*resources, *(["ping"] if "logs" in resources else [])],  # as the provider's
    }
    key = ECKey.import_key(context.installation.management_key)
    return success(jwt.encode({"alg": "ES256", "typ": "JWT"}, claims, key))
