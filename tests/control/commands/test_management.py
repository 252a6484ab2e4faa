"""The log of a connector, read over the tunnel with a token of the control plane: by our `tail` and the genuine one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from pyconnector import Connector
from pyconnector.connector.config import Credentials
from pyconnector.connector.observe.log_taps import TAPS
from pyconnector.edge import CertificatePair, DirectorySettings, EdgeSettings, LocalEdge, VisitorSettings
from pyconnector.identity.management_token import HOSTNAME
from pyconnector.protocol.tokens import decode_token
from tests.control.support import Mesh, open_mesh
from tests.support.houses.house import config_for
from tests.support.identity.certificates import Authority
from tests.support.peers.raw_visitor import RawVisitor, get
from tests.support.services.forward_proxy import forward_proxy
from tests.support.services.genuine import BINARY, needs_cloudflared
from tests.support.services.process import ROOT

RULES = [{"service": "http_status:418"}]


@dataclass(frozen=True)
class Place:
    """A control plane, an edge that follows it, and a connector of a tunnel of it."""

    mesh: Mesh
    edge: LocalEdge
    connector: Connector
    tunnel_id: str
    authority: Authority

    @contextlib.asynccontextmanager
    async def tail(self, *arguments: str, program: tuple[str, ...] = (), **environment: str) -> AsyncIterator[Any]:
        """Run `tail` until it streams, and for the block."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("TUNNEL_")}
        clean |= {"TUNNEL_API_URL": self.mesh.plane.api_url, "TUNNEL_ORIGIN_CERT": str(self.mesh.plane.cert_pem)}
        process = await asyncio.create_subprocess_exec(
            *(program or (sys.executable, "-m", "pyconnector")), "tail", *arguments,
            env=clean | {"PYTHONPATH": str(ROOT / "src")} | environment, stdout=-1, stderr=-1,
        )  # fmt: skip
        try:
            while TAPS.level > 10 and process.returncode is None:
                await asyncio.sleep(0.01)
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    @property
    def url(self) -> str:
        """Where visitors come."""
        return "http://{}:{}".format(*self.edge.visitor_address)

    async def visit(self) -> None:
        async with RawVisitor(self.edge.visitor_address) as visitor:
            assert (await visitor.request(get("/seen"))).status == 418


@contextlib.asynccontextmanager
async def with_place(tmp_path: Path) -> AsyncIterator[Place]:
    authority = Authority(tmp_path)
    async with open_mesh(tmp_path / "data") as mesh:
        made = await mesh.tunnel()
        token = mesh.plane.edge_token_file.read_text().strip()
        authority.server(HOSTNAME)
        certificate = next(path for path in tmp_path.glob("server-*.pem"))
        certificate.chmod(0o600)
        visitors = VisitorSettings(
            tls_address=("127.0.0.1", 0), certificates=(CertificatePair(certificate=certificate, key=certificate),)
        )
        directory = DirectorySettings(url=mesh.plane.url, token=token)
        settings = EdgeSettings(control=None, directory=directory, visitors=visitors)
        async with LocalEdge(settings) as edge:
            told = decode_token(made["token"])
            credentials = Credentials(account_tag=told.account_tag, tunnel_id=told.tunnel_id, secret=told.secret)
            config = replace(config_for(edge, RULES, connections=2), credentials=credentials, label="shed")
            edge.tunnels.route_name("app.test", UUID(made["id"]))
            async with Connector(config) as connector:
                await connector.wait_ready(2)
                yield Place(mesh, edge, connector, made["id"], authority)


async def message(process: Any, text: str) -> dict[str, Any]:
    """The first line of `process` whose message holds `text`."""
    while True:
        line = await process.stdout.readline()
        assert line, (await process.stderr.read()).decode()
        found = json.loads(line)
        assert isinstance(found, dict)
        if text in found["message"]:
            return found


async def test_tail_shows_the_log_of_a_connector(tmp_path: Path) -> None:
    async with with_place(tmp_path) as place:
        url = ("--edge-url", place.url, "--output", "json")
        async with place.tail(*url, "--event", "http", "--connector-id", str(place.connector.connector_id),
                              place.tunnel_id) as process:  # fmt: skip
            await place.visit()
            line = await message(process, "/seen")
            assert line["event"] == "http"
            assert line["message"] == "GET /seen"
            assert line["fields"]["host"] == "app.test"
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 0
        # Who asks must have a token of this control plane, and name a connector that is there.
        other = ("--connector-id", str(UUID(int=1)), place.tunnel_id)
        async with place.tail("--edge-url", place.url, *other) as process:
            assert await process.wait() == 1
            assert b"no connector of this tunnel is connected" in await process.stderr.read()


async def test_the_service_is_reached_by_token_alone(tmp_path: Path) -> None:
    async with with_place(tmp_path) as place:
        path = f"{place.mesh.account}/cfd_tunnel/{place.tunnel_id}/management"
        token = await place.mesh.call("POST", path, json={"resources": ["host_details", "logs"]})
        async with httpx.AsyncClient(base_url=place.url, headers={"Host": HOSTNAME}) as client:
            for query in ({}, {"access_token": "x"}, {"access_token": token[:-4] + "AAAA"}):
                refused = await client.get("/host_details", params=query)
                assert refused.status_code == 403
            told = (await client.get("/host_details", params={"access_token": token})).json()
            assert told["connector_id"] == str(place.connector.connector_id)
            assert told["hostname"] == "custom:shed"
            figures = await client.get("/metrics", params={"access_token": token})
            assert "cloudflared_tunnel_total_requests" in figures.text
            gone = await place.mesh.tunnel("other")
            path = f"{place.mesh.account}/cfd_tunnel/{gone['id']}/management"
            other = await place.mesh.call("POST", path, json={"resources": ["logs"]})
            absent = await client.get("/host_details", params={"access_token": other})
            assert absent.status_code in (503, 530)


@needs_cloudflared[0]
@needs_cloudflared[1]
async def test_the_genuine_tail_shows_it_too(tmp_path: Path) -> None:
    async with with_place(tmp_path) as place:
        tls = place.edge.visitor_tls_address
        assert tls is not None
        async with forward_proxy("http") as proxy:  # the name is that of the provider
            proxy.names[HOSTNAME] = tls
            found = {"HTTPS_PROXY": proxy.url, "SSL_CERT_FILE": str(place.authority.path)}
            async with place.tail(
                "--output", "json", "--sample", "1", place.tunnel_id, program=(BINARY,), **found
            ) as process:
                await place.visit()
                line = await message(process, "/seen")
                assert line["event"] == "http"
                process.send_signal(signal.SIGINT)
                assert await process.wait() == 0
