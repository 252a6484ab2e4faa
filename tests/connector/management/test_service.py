"""What is answered under the management hostname, whatever the rules say."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from uuid import UUID

import pytest

from pyconnector.connector.management.service import ManagementService
from pyconnector.identity.management_token import HOSTNAME
from pyconnector.origins.base import OriginResponse, RequestKind
from tests.connector.management.test_log_stream import Body
from tests.origins.support import get, read_all
from tests.support.identity.management import management_token

TUNNEL, CONNECTOR = UUID(int=1), UUID(int=2)


def service(
    label: str = "", *, metrics: bool = True, edge: tuple[str, int] | None = ("127.0.0.1", 7844)
) -> ManagementService:
    return ManagementService(
        tunnel_id=TUNNEL,
        connector_id=CONNECTOR,
        label=label,
        metrics=(lambda: (HTTPStatus.OK, "text/plain", b"a 1\n")) if metrics else None,
        edge_address=lambda: edge,
    )


async def ask(
    path: str, *headers: tuple[bytes, bytes], token: str | None = None, of: ManagementService | None = None,
    method: str = "GET", kind: RequestKind = RequestKind.HTTP,
) -> OriginResponse:  # fmt: skip
    token = management_token(str(TUNNEL)) if token is None else token
    target = f"{path}?access_token={token}" if token else path
    return await (of or service()).serve(get(target, *headers, method=method, kind=kind, host=HOSTNAME), Body())


@pytest.mark.parametrize("path", ["/ping", "/logs", "/host_details", "/metrics", "/nothing"])
@pytest.mark.parametrize("token", ["", "a.b.c", management_token(str(UUID(int=9)))])
async def test_without_a_token_of_this_tunnel_nothing_is_said(path: str, token: str) -> None:
    response = await ask(path, token=token)
    assert response.status == 400
    body = b'{"errors": [{"code": 1001, "message": "missing access_token query parameter"}]}\n'
    assert await read_all(response) == body


async def test_pings_are_answered() -> None:
    for method in ("GET", "HEAD"):
        response = await ask("/ping", method=method)
        assert (response.status, await read_all(response)) == (200, b"")
    assert (await ask("/ping", method="POST")).status == 405


async def test_the_machine_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "machine")
    response = await ask("/host_details")
    assert (b"Content-Type", b"application/json") in response.headers
    told = json.loads(await read_all(response))
    assert told == {"connector_id": str(CONNECTOR), "ip": "127.0.0.1", "hostname": "machine"}
    told = json.loads(await read_all(await ask("/host_details", of=service("shed", edge=None))))
    assert told == {"connector_id": str(CONNECTOR), "hostname": "custom:shed"}


async def test_figures_are_shown_where_they_may_be() -> None:
    response = await ask("/metrics")
    assert (response.status, await read_all(response)) == (200, b"a 1\n")
    assert (await ask("/metrics", of=service(metrics=False))).status == 404
    profile = await ask("/debug/pprof/heap")
    assert profile.status == 404
    assert b"/diag/tasks" in await read_all(profile)


async def test_pages_of_others_are_shown_nothing() -> None:
    for origin, allowed in ((b"https://dash.cloudflare.com", True), (b"https://cloudflare.com.evil.test", False)):
        headers = dict((await ask("/ping", (b"Origin", origin))).headers)
        assert (headers.get(b"Access-Control-Allow-Origin") == origin) is allowed


@pytest.mark.parametrize(
    ("kind", "headers", "token", "status"),
    [
        (RequestKind.HTTP, [], None, 426),
        (RequestKind.WEBSOCKET, [], None, 426),
        (RequestKind.WEBSOCKET, [(b"Sec-Websocket-Key", b"a")], None, 101),
        (RequestKind.WEBSOCKET, [(b"Sec-Websocket-Key", b"a"), (b"Origin", b"https://evil.test")], None, 403),
        (RequestKind.WEBSOCKET, [(b"Sec-Websocket-Key", b"a"), (b"Origin", b"https://x.cloudflare.com")], None, 101),
        (RequestKind.WEBSOCKET, [(b"Sec-Websocket-Key", b"a")], management_token(str(TUNNEL), res=["admin"]), 101),
        (
            RequestKind.WEBSOCKET,
            [(b"Sec-Websocket-Key", b"a")],
            management_token(str(TUNNEL), res=["host_details"]),
            403,
        ),
    ],
)
async def test_the_log_is_for_those_who_may(
    kind: RequestKind, headers: list[tuple[bytes, bytes]], token: str | None, status: int
) -> None:
    response = await ask("/logs", *headers, kind=kind, token=token)
    assert response.status == status
    response.abort()


async def test_who_reads_the_log_leaves_when_the_connector_ends() -> None:
    served = service()
    headers = [(b"Sec-Websocket-Key", b"a")]
    reading = await ask("/logs", *headers, kind=RequestKind.WEBSOCKET, of=served)
    served.end()
    served.end()
    async with asyncio.timeout(30):
        frame = await reading.receive()
        assert await reading.receive() == b""
        await reading.finish()
    assert b"context closed" in frame
    assert (await ask("/logs", *headers, kind=RequestKind.WEBSOCKET, of=served)).status == 503
    assert (await ask("/ping", of=served)).status == 200
