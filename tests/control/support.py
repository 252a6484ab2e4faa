"""A control plane for tests, with a client that may do everything, on either database."""

from __future__ import annotations

import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from pyconnector.control.plane import ControlPlane
from pyconnector.control.settings import ControlPlaneSettings
from pyconnector.edge.directory.values import KINDS

#: For clients of plain HTTP: the default context loads every public authority, 12 ms each time.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass(frozen=True)
class Mesh:
    """A running control plane and its first token's client."""

    plane: ControlPlane
    client: httpx.AsyncClient
    token: str

    @property
    def account(self) -> str:
        return f"/accounts/{self.plane.installation.account_id}"

    @property
    def zone(self) -> str:
        return f"/zones/{self.plane.installation.zone_id}"

    async def call(self, method: str, path: str, **options: Any) -> Any:
        """The `result` of a request that must succeed, in the form that every client relies on."""
        response = await self.client.request(method, path, **options)
        assert response.status_code == 200, response.text
        assert response.headers["content-type"] == "application/json"
        body = response.json()
        assert body["success"] is True
        assert body["errors"] == []
        assert body["messages"] == []
        return body["result"]

    async def refused(self, status: int, method: str, path: str, **options: Any) -> dict[str, Any]:
        """The first error of a request that must be refused with `status`."""
        response = await self.client.request(method, path, **options)
        assert response.status_code == status, response.text
        # With a charset behind it the reference would not read the sentence.
        assert response.headers["content-type"] == "application/json"
        body = response.json()
        assert body["success"] is False
        error: dict[str, Any] = body["errors"][0]
        assert error["message"]
        return error

    async def tunnel(self, name: str = "t", **fields: Any) -> dict[str, Any]:
        made: dict[str, Any] = await self.call("POST", f"{self.account}/cfd_tunnel", json={"name": name, **fields})
        return made

    def edge(self) -> httpx.AsyncClient:
        """A client with the token of an edge."""
        token = self.plane.edge_token_file.read_text().strip()
        return httpx.AsyncClient(
            base_url=f"{self.plane.url}/edge/v1",
            headers={"Authorization": f"Bearer {token}"},
            timeout=30,
            verify=NO_TLS,
        )


async def snapshot(edge: httpx.AsyncClient) -> dict[str, Any]:
    """What an edge is told at first: `number`, and `objects` by kind and id."""
    first, *lines = (await edge.get("/snapshot")).text.split("\n")
    objects: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
    for entry in map(json.loads, lines):
        objects.setdefault(entry["kind"], {})[entry["id"]] = entry["value"]
    return {"number": json.loads(first)["number"], "objects": objects}


@contextlib.asynccontextmanager
async def open_mesh(
    directory: Path, database: str = "", token: str = "", address: tuple[str, int] = ("127.0.0.1", 0)
) -> AsyncIterator[Mesh]:
    settings = ControlPlaneSettings(data_directory=directory, database=database, zone="example.com", address=address)
    async with ControlPlane(settings) as plane:
        token = plane.installation.first_token or token
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=plane.api_url, headers=headers, timeout=30, verify=NO_TLS) as client:
            yield Mesh(plane, client, token)


NewMesh = Callable[[], contextlib.AbstractAsyncContextManager[Mesh]]
