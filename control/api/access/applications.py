"""Applications: `/accounts/{a}/access/apps`. Of the kinds there are, `self_hosted` is served here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import JSONResponse

from pyconnector.control.api.access.policies import policy_json
from pyconnector.control.api.context import Ctx, Paging, needs
from pyconnector.control.api.envelope import success, time_text
from pyconnector.control.api.fields import Body, Id, Name, Text
from pyconnector.control.store.access import applications, conditions
from pyconnector.control.store.access.applications import ApplicationFields
from pyconnector.control.store.access.tables import Application
from pyconnector.control.store.errors import Invalid
from pyconnector.control.store.work import Work

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

READ, EDIT = [needs("access:read")], [needs("access:edit")]
router = APIRouter(tags=["Access applications"])
_PATH = "/accounts/{account_id}/access/apps"


class Destination(Body):
    """A place of an application."""

    type: Literal["public"] = "public"
    uri: Text


class PolicyReference(Body):
    """A policy by its id, with its place in the order."""

    id: Id
    precedence: Annotated[int, Field(ge=0, le=1_000_000)] | None = None


class ApplicationBody(Body):
    """An application as it is to be. `identity_headers` is an extension."""

    name: Name
    type: Literal["self_hosted"]
    domain: Text | None = None
    destinations: Annotated[list[Destination], Field(default_factory=list, max_length=50)]
    self_hosted_domains: Annotated[list[Text], Field(default_factory=list, max_length=50)]
    policies: Annotated[list[Id | PolicyReference], Field(default_factory=list, max_length=100)]
    session_duration: Text | None = None
    read_service_tokens_from_header: Text = ""
    service_auth_401_redirect: Literal[True] | None = None
    identity_headers: bool = False
    allowed_idps: Annotated[list[Id], Field(default_factory=list, max_length=100)]
    auto_redirect_to_identity: bool = False


@router.get(_PATH, dependencies=READ)
async def list_applications(
    context: Ctx, page: Paging, name: Text | None = None, aud: Text | None = None
) -> JSONResponse:
    """List applications, the oldest first."""
    async with context.read() as session:
        found = await applications.listed(session, context.account_id, page, name=name, aud=aud)
        return success([await _json(session, row) for row in found.rows], found)


@router.post(_PATH, dependencies=EDIT)
async def create_application(context: Ctx, body: ApplicationBody) -> JSONResponse:
    """Make an application, which guards its places from then on."""
    return await _put(context, None, body)


@router.get(_PATH + "/{application_id}", dependencies=READ)
async def get_application(context: Ctx, application_id: Id) -> JSONResponse:
    """Return an application."""
    async with context.read() as session:
        return success(await _json(session, await applications.find(session, context.account_id, application_id)))


@router.put(_PATH + "/{application_id}", dependencies=EDIT)
async def replace_application(context: Ctx, application_id: Id, body: ApplicationBody) -> JSONResponse:
    """Replace what an application says; its audience tag stays."""
    return await _put(context, application_id, body)


@router.post(_PATH + "/{application_id}/revoke_tokens", dependencies=EDIT)
async def revoke_tokens(context: Ctx, application_id: Id) -> JSONResponse:
    """Let every token that was issued for an application be worth nothing, at every edge within a second."""

    async def operation(work: Work) -> dict[str, Any]:
        await applications.revoke_tokens(work, application_id)
        return {}

    return success(await context.write(operation))


@router.delete(_PATH + "/{application_id}", dependencies=EDIT)
async def delete_application(context: Ctx, application_id: Id) -> JSONResponse:
    """Delete an application: its places are open from then on."""

    async def operation(work: Work) -> dict[str, Any]:
        return {"id": (await applications.remove(work, application_id)).id}

    return success(await context.write(operation))


async def _put(context: Ctx, application_id: str | None, body: ApplicationBody) -> JSONResponse:
    fields = ApplicationFields(
        name=body.name, places=_places(body), policies=_policies(body.policies),
        session_duration=body.session_duration, token_header=body.read_service_tokens_from_header,
        identity_headers=body.identity_headers, allowed_idps=body.allowed_idps,
        auto_redirect_to_identity=body.auto_redirect_to_identity,
    )  # fmt: skip

    async def operation(work: Work) -> dict[str, Any]:
        return await _json(work.session, await applications.put(work, application_id, fields))

    return success(await context.write(operation))


def _places(body: ApplicationBody) -> list[str]:
    named = [destination.uri for destination in body.destinations] or body.self_hosted_domains
    places = list(dict.fromkeys([*([body.domain] if body.domain else []), *named]))
    if not places:
        raise Invalid("An application needs a domain, or destinations.", applications.BAD_APPLICATION)
    return places


def _policies(references: list[str | PolicyReference]) -> list[str]:
    """Those with a precedence in its order, the others as they stand."""
    ordered = sorted(
        enumerate(references),
        key=lambda entry: (
            entry[1].precedence
            if isinstance(entry[1], PolicyReference) and entry[1].precedence is not None
            else entry[0] + 1
        ),
    )
    return [entry if isinstance(entry, str) else entry.id for _, entry in ordered]


async def _json(session: AsyncSession, row: Application) -> dict[str, Any]:
    policies = []
    used = await conditions.applications_of(session, row.account_id)
    for place, policy_id in enumerate(row.policies, 1):
        policy = await conditions.find_policy(session, row.account_id, policy_id)
        policies.append(policy_json(policy, len(used.get(policy_id, ()))) | {"precedence": place})
    return {
        "id": row.id,
        "uid": row.id,
        "aud": row.aud,
        "name": row.name,
        "type": "self_hosted",
        "domain": row.places[0],
        "destinations": [{"type": "public", "uri": place} for place in row.places],
        "self_hosted_domains": row.places,
        "policies": policies,
        "session_duration": row.session_duration,
        "read_service_tokens_from_header": row.token_header,
        "service_auth_401_redirect": True,
        "identity_headers": row.identity_headers,
        "allowed_idps": row.allowed_idps,
        "auto_redirect_to_identity": row.auto_redirect_to_identity,
        "created_at": time_text(row.created_at),
        "updated_at": time_text(row.updated_at),
    }
