"""What edges ask and report: `/edge/v1`. JSON values without the envelope; docs/mesh.md says their form."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import JSONResponse, Response

from pyconnector.control.api.context import Ctx, needs
from pyconnector.control.api.fields import Body, Id, Text
from pyconnector.control.store.access import login_counts, people, service_tokens
from pyconnector.control.store.logs import access_requests, edge_logs
from pyconnector.control.store.objects import authority, connections
from pyconnector.control.store.work import Work

#: Seconds that an edge may wait for a change.
MAX_WAIT = 25.0
EDGE = [needs("edge")]
router = APIRouter(tags=["Edges"])
Age = Annotated[float, Field(ge=0, le=10**9, allow_inf_nan=False)]
Nonce = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
#: Logins, and ended sessions, in one report.
MAX_LOGINS = 1000


class ReportedConnection(Body):
    """A connection that the edge holds."""

    id: Id
    tunnel_id: Id
    client_id: Id
    client_version: Text
    arch: Text
    features: Annotated[list[Text], Field(max_length=100)]
    position: Annotated[int, Field(ge=0, le=255)]
    origin_ip: Annotated[Text, Field(max_length=64)]
    location: Annotated[Text, Field(max_length=64)]
    configuration_version: int
    age: Age


class ReportedLogin(Body):
    """Somebody logged in at the edge."""

    email: Annotated[Text, Field(max_length=254)]
    name: Annotated[Text, Field(max_length=200)] = ""
    age: Age


class ReportedDecision(Body):
    """Somebody who was let in at an application, or was not."""

    age: Age
    allowed: bool
    app_uid: Text
    app_domain: Text
    app_name: Text
    ip_address: Text
    ray_id: Annotated[Text, Field(max_length=64)]
    user_email: Annotated[Text, Field(max_length=255)]
    user_id: Text
    service_token_id: Text
    service_token_name: Text
    reason: Text
    connection: Text


class JobStatus(Body):
    """How a job of Logpush is doing at the edge."""

    sent: Annotated[int, Field(ge=0)]
    lost: Annotated[int, Field(ge=0)]
    last_complete: Annotated[Text, Field(max_length=64)]
    last_error: Annotated[Text, Field(max_length=64)]
    error_message: Text


class Report(Body):
    """An edge and all connections of connectors that it holds."""

    id: Id
    name: Annotated[Text, Field(max_length=64)]
    address: Annotated[Text, Field(max_length=255)]
    visitors: Annotated[Text, Field(max_length=300)] = ""
    peer: Annotated[Text, Field(max_length=255)] = ""
    leaving: bool = False
    draining: bool = False
    used_tokens: Annotated[dict[Id, Age], Field(default_factory=dict, max_length=10_000)]
    "Seconds since each service token was last used here, of those that were since the report before."
    logins: Annotated[list[ReportedLogin], Field(default_factory=list, max_length=MAX_LOGINS)]
    ended_sessions: Annotated[dict[Nonce, Age], Field(default_factory=dict, max_length=MAX_LOGINS)]
    "Seconds for which tokens of each session that was ended here could still be shown."
    records: Annotated[list[dict[str, Any]], Field(default_factory=list, max_length=edge_logs.MAX_RECORDS)]
    "The last records since the report before."
    decisions: Annotated[list[ReportedDecision], Field(default_factory=list, max_length=1000)]
    logpush: Annotated[dict[Annotated[Text, Field(max_length=20)], JobStatus],
                       Field(default_factory=dict, max_length=1000)]  # fmt: skip
    connections: Annotated[list[ReportedConnection], Field(max_length=connections.MAX_REPORTED)]


class LoginCountRequest(Body):
    """Something of a login that counts at all edges together."""

    key: Annotated[str, Field(pattern="^[a-z]{1,12}:[0-9a-f]{64}$")]
    limit: Annotated[int, Field(ge=1, le=1000)]
    seconds: Annotated[int, Field(ge=1, le=3600)]


class CertificateRequest(Body):
    """A PKCS #10 request, PEM."""

    csr: Annotated[str, Field(max_length=8192)]


@router.get("/snapshot", dependencies=EDGE)
async def get_snapshot(context: Ctx) -> Response:
    """Return all that an edge needs to know, in lines of JSON; the first has the number of the last change in it."""
    return Response(await context.feed.snapshot(), media_type="application/x-ndjson")


@router.get("/changes", dependencies=EDGE)
async def get_changes(
    context: Ctx,
    after: Annotated[int, Query(ge=0, lt=2**62)],
    wait: Annotated[float, Query(ge=0, le=MAX_WAIT, allow_inf_nan=False)] = 0.0,
) -> JSONResponse:
    """Return what changed after a number, waiting for it; 410 where only a snapshot helps."""
    changes = await context.feed.changes(after, wait)
    if changes is None:
        return JSONResponse({"error": "That is too long ago: take a snapshot."}, status_code=410)
    return JSONResponse({"changes": changes.entries, "last": changes.last})


@router.post("/report", dependencies=EDGE)
async def post_report(context: Ctx, body: Report) -> JSONResponse:
    """Take the report of an edge; return the connections whose tunnel is gone, for it to close."""
    edge = connections.EdgeReport(
        id=body.id,
        name=body.name,
        address=body.address,
        visitors=body.visitors,
        peer=body.peer,
        leaving=body.leaving,
        draining=body.draining,
    )
    reported = [_connection(entry) for entry in body.connections]

    async def operation(work: Work) -> dict[str, Any]:
        await service_tokens.note_use(work, body.used_tokens)
        for login in body.logins:
            await people.note_login(work, login.email, login.name, login.age)
        await people.end_sessions(work, body.ended_sessions)
        close = await connections.report(work, edge, reported)
        await access_requests.add(work, [decision.model_dump() for decision in body.decisions])
        jobs = {job_id: status.model_dump() for job_id, status in body.logpush.items()}
        await edge_logs.note(work, edge.id, body.records, jobs)
        return {"close": close, "peers": await connections.peers_of(work, edge.id)}

    return JSONResponse(await context.write(operation, in_turn=False))


@router.post("/login_count", dependencies=EDGE)
async def post_login_count(context: Ctx, body: LoginCountRequest) -> JSONResponse:
    """Count one more; say whether it is still allowed."""

    async def operation(work: Work) -> bool:
        return await login_counts.take(work, body.key, body.limit, body.seconds)

    return JSONResponse({"allowed": await context.write(operation, in_turn=False)})


@router.post("/certificate", dependencies=EDGE)
async def post_certificate(context: Ctx, body: CertificateRequest) -> JSONResponse:
    """Return a certificate for the key of an edge, which it is known by to connectors and to other edges."""
    chain = authority.issue(context.authority, body.csr, context.now)
    return JSONResponse({"chain": chain, "authority": context.authority.certificate})


def _connection(entry: ReportedConnection) -> connections.ConnectionReport:
    return connections.ConnectionReport(**{**entry.model_dump(), "features": tuple(entry.features)})
