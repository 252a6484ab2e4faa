"""The control API: what it does, and to whom it does not speak."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from pyconnector.edge import ControlSettings, SettingsError
from pyconnector.edge.debug_api.http import MAX_BODY_BYTES, MAX_CONNECTIONS
from pyconnector.edge.faults.refusals import MAX_SCRIPTED
from pyconnector.protocol.rpc.edge_rpc import ConfigurationPushed, EdgeRpcServer
from pyconnector.protocol.rpc.registration import Refused
from tests.edge.support import TUNNEL, memory_edge, until
from tests.support.peers.raw_visitor import RawVisitor, get
from tests.support.peers.scripted_connector import Exchange, attached, connected, echo

if TYPE_CHECKING:
    from pyconnector.edge import LocalEdge


pytestmark = pytest.mark.usefixtures("each_loop")
CONTROL = ControlSettings()


async def ask(edge: LocalEdge, method: str, path: str, body: Any = None, *lines: str) -> tuple[int, Any]:
    assert edge.control_address is not None
    host = "{}:{}".format(*edge.control_address)
    data = b"" if body is None else json.dumps(body).encode()
    head = [f"{method} {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(data)}", *lines]
    if data:
        head.append("Content-Type: application/json")
    async with RawVisitor(edge.control_address) as client:
        response = await client.request("\r\n".join([*head, "", ""]).encode() + data)
        return response.status, json.loads(response.body)


async def test_it_tells_of_tunnels_and_connections_without_secrets() -> None:
    async with memory_edge(control=CONTROL) as edge:
        connector = await connected(edge)
        assert await ask(edge, "GET", "/healthz") == (200, {"status": "ok"})
        status, told = await ask(edge, "GET", "/tunnels")
        assert status == 200
        assert told["tunnels"][0]["id"] == str(TUNNEL.tunnel_id)
        assert told["tunnels"][0]["connections"] == 1
        assert await ask(edge, "GET", "/audit") == (200, {"audit": None})
        status, listed = await ask(edge, "GET", "/connections?verbose")
        assert listed["connections"][0]["state"] == "registered"
        assert TUNNEL.secret.decode() not in json.dumps([told, listed])
        await connector.close()


async def test_it_kills_a_connection() -> None:
    async with memory_edge(control=CONTROL) as edge:
        connector = await connected(edge)
        (connection,) = edge.connectors.all()
        assert (await ask(edge, "POST", f"/connections/{uuid4()}/kill"))[0] == 404
        assert (await ask(edge, "POST", f"/connections/{connection.connection_id}/kill"))[0] == 200
        assert "killed" in (await connector.connection.wait_closed()).reason
        assert (await ask(edge, "POST", "/connections/nonsense/kill"))[0] == 404
        await connector.close()


async def test_it_refuses_registrations_as_told() -> None:
    async with memory_edge(control=CONTROL) as edge:
        refusal = {"cause": "EDUPCONN", "retry_after": 2.5, "should_retry": True, "count": 2}
        assert await ask(edge, "POST", "/refusals", refusal) == (200, {"waiting": 2})
        connector = attached(edge)
        event = await connector.register()
        assert isinstance(event, Refused)
        assert event.refusal.duplicate
        assert event.refusal.retry_after == 2.5
        await connector.close()
        assert await ask(edge, "GET", "/refusals") == (200, {"waiting": 1})
        assert await ask(edge, "DELETE", "/refusals") == (200, {"removed": 1})
        for wrong in [
            {"count": MAX_SCRIPTED + 1},
            {"count": 0},
            {"count": True},
            {"retry_after": -1},
            {"retry_after": "1"},
            {"should_retry": 1},
            {"cause": ""},
            {"couse": "x"},
            [],
        ]:
            assert (await ask(edge, "POST", "/refusals", wrong))[0] == 400
        assert len(edge.refusals) == 0


def configured(answers: list[tuple[int, str]], pushed: list[tuple[int, Any]]) -> Any:
    """A script that answers pushes with `answers`, in turn."""

    async def script(exchange: Exchange) -> None:
        if exchange.opening.__class__.__name__ != "RpcOpening":
            await echo(exchange)
            return
        server = EdgeRpcServer()
        while data := await exchange.receive():
            for event in server.receive_data(data):
                if isinstance(event, ConfigurationPushed):
                    pushed.append((event.version, json.loads(event.config)))
                    version, error = answers.pop(0)
                    server.answer_configuration(event.call, version, error)
            if out := server.bytes_to_send():
                await exchange.stream.send(out)
        exchange.stream.finish()

    return script


async def test_it_pushes_a_configuration_once_per_connector_and_keeps_it() -> None:
    configuration = {"ingress": [{"hostname": "new.test", "service": "http_status:204"}, {"service": "hello_world"}]}
    pushed: list[tuple[int, Any]] = []
    path = f"/tunnels/{TUNNEL.tunnel_id}/configuration"

    async with memory_edge(control=CONTROL) as edge:
        assert (await ask(edge, "POST", path, configuration))[0] == 409
        answers = [(0, ""), (0, "bad ingress"), (4, ""), (5, "")]
        client = uuid4()
        connectors = [
            await connected(edge, configured(answers, pushed), index=index, client_id=client) for index in range(2)
        ]
        status, told = await ask(edge, "POST", path, configuration)
        assert (status, told["version"]) == (200, 0)
        assert pushed == [(0, configuration)]
        assert edge.tunnels.for_host("new.test") is edge.tunnels.get(TUNNEL.tunnel_id)
        status, told = await ask(edge, "POST", path, {"ingress": "wrong"})
        assert status == 422
        assert told["answers"][0]["error"] == "bad ingress"
        assert told["version"] == 0, "a rejected configuration is not kept"
        # A connector that has a later version from elsewhere ignores this one: it gets the next number.
        status, told = await ask(edge, "POST", path, configuration)
        assert [version for version, _ in pushed] == [0, 1, 1, 5]
        assert (status, told["version"]) == (200, 5)
        late = await connected(edge, configured([(5, "")], pushed), index=2)
        await until(lambda: len(pushed) == 5)
        assert pushed[-1] == (5, configuration)
        for connector in [*connectors, late]:
            await connector.close()


async def test_a_push_that_is_not_answered_is_told() -> None:
    async def script(exchange: Exchange) -> None:
        exchange.stream.finish()

    async with memory_edge(control=CONTROL) as edge:
        connector = await connected(edge, script)
        status, told = await ask(edge, "POST", f"/tunnels/{TUNNEL.tunnel_id}/configuration", {})
        assert status == 502
        assert told["answers"][0]["answered"] is False
        assert (await ask(edge, "POST", f"/tunnels/{UUID(int=9)}/configuration", {}))[0] == 404
        assert (await ask(edge, "POST", f"/tunnels/{TUNNEL.tunnel_id}/configuration", []))[0] == 400
        await connector.close()


@pytest.mark.parametrize(
    ("host", "line"),
    [
        ("evil.test:{port}", ""),
        ("127.0.0.1:1", ""),
        ("127.0.0.1.evil.test:{port}", ""),
        ("127.0.0.1", ""),
        ("localhost:{port}", "Origin: http://localhost:{port}"),
        ("localhost:{port}", "Origin: null"),
        ("localhost:{port}", "Sec-Fetch-Site: cross-site"),
    ],
)
async def test_web_pages_are_refused_whatever_name_they_use(host: str, line: str) -> None:
    async with memory_edge(control=CONTROL) as edge:
        assert edge.control_address is not None
        port = edge.control_address[1]
        lines = [line.format(port=port)] if line else []
        async with RawVisitor(edge.control_address) as client:
            response = await client.request(get("/tunnels", host.format(port=port), *lines))
            assert response.status == 403
            assert b"tunnels" not in response.body


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
async def test_loopback_names_are_welcome(host: str) -> None:
    async with memory_edge(control=CONTROL) as edge:
        assert edge.control_address is not None
        async with RawVisitor(edge.control_address) as client:
            assert (await client.request(get("/tunnels", f"{host}:{edge.control_address[1]}"))).status == 200


async def test_a_token_is_needed_where_one_is_set() -> None:
    token = "a-token-of-some-length"

    async with memory_edge(control=ControlSettings(token=token)) as edge:
        assert (await ask(edge, "GET", "/healthz"))[0] == 200
        assert (await ask(edge, "GET", "/tunnels"))[0] == 401
        assert (await ask(edge, "GET", "/tunnels", None, "Authorization: Bearer wrong"))[0] == 401
        assert (await ask(edge, "GET", "/tunnels", None, f"Authorization: Bearer {token}"))[0] == 200
    assert token not in repr(edge.settings)
    with pytest.raises(SettingsError, match="16"):
        ControlSettings(token="short")
    with pytest.raises(SettingsError, match="loopback"):
        ControlSettings(address=("0.0.0.0", 1))


async def test_what_it_does_not_know_or_take() -> None:
    async with memory_edge(control=CONTROL) as edge:
        assert (await ask(edge, "GET", "/"))[0] == 404
        assert (await ask(edge, "GET", "/tunnels/../etc"))[0] == 404
        assert (await ask(edge, "PUT", "/tunnels"))[0] == 405
        assert (await ask(edge, "POST", "/faults", {}))[0] == 409
        assert edge.control_address is not None
        host = f"localhost:{edge.control_address[1]}"
        start = f"POST /refusals HTTP/1.1\r\nHost: {host}\r\n"
        for rest, status in [
            (f"Content-Length: {MAX_BODY_BYTES + 1}\r\n\r\n", 413),
            ("Content-Length: 2\r\n\r\n{}", 415),
            ("Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{x", 400),
            ("Content-Type: application/json\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{x", 400),
        ]:
            async with RawVisitor(edge.control_address) as client:
                assert (await client.request((start + rest).encode())).status == status
        chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        async with RawVisitor(edge.control_address) as client:
            client.send((start + "Transfer-Encoding: chunked\r\n\r\n").encode() + chunk * 20)
            assert (await client.response()).status == 413


async def test_its_connections_are_bounded() -> None:
    async with memory_edge(control=CONTROL) as edge:
        assert edge.control_address is not None
        held = [await asyncio.open_connection(*edge.control_address) for _ in range(MAX_CONNECTIONS)]
        await asyncio.sleep(0.05)
        async with RawVisitor(edge.control_address) as client:
            assert await client.reader.read() == b""
        for _, writer in held:
            writer.close()
            await writer.wait_closed()

        async def served() -> bool:
            try:
                return (await ask(edge, "GET", "/healthz"))[0] == 200
            except (OSError, asyncio.IncompleteReadError):
                return False

        async with asyncio.timeout(30):
            while not await served():
                await asyncio.sleep(0.01)
