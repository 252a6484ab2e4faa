"""What is recorded of each request, WebSocket and TCP stream, refusals included; and the commands that read it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from pyconnector.connector.cli.commands import main
from pyconnector.edge import EdgeSettings
from pyconnector.edge.audit.files import log_files, read_log
from pyconnector.edge.audit.log import AuditSettings
from tests.support.houses.house import TUNNEL_ID, House, open_house, tunnel
from tests.support.identity.agents import HOST, World, telling_origin
from tests.support.peers.h2_visitor import h2_visitor
from tests.support.peers.raw_visitor import RawVisitor, get


@contextlib.asynccontextmanager
async def recorded(tmp_path: Path, **options: Any) -> AsyncIterator[tuple[House, World]]:
    settings = EdgeSettings(tunnels=(tunnel(),), audit=AuditSettings(directory=tmp_path, **options))
    async with telling_origin() as origin:
        rules = [
            {"hostname": "down.test", "service": "http://127.0.0.1:9"},
            {"hostname": "db.test", "service": origin.replace("http", "tcp")},
            {"service": origin},
        ]
        async with open_house(rules, settings=settings) as house:
            world = World(house.edge.gate.state)
            world.application(policies=[world.policy("p", include=[{"role": {"role": "reader"}}], revision=7)])
            yield house, world


def records(directory: Path) -> list[dict[str, Any]]:
    return [link.record for _, link in read_log(log_files(directory)) if "RayID" in link.record]


async def test_each_request_has_one_record_refusals_included(tmp_path: Path) -> None:
    secrets: list[str] = []

    async with recorded(tmp_path) as (house, world), RawVisitor(house.edge.visitor_address) as visitor:
        agent, other = world.agent(role="reader", labels=["x"]), world.agent("agent-02", role="writer")
        secrets.extend((agent.secret, "query-secret", "cookie-secret"))
        lines = ["User-Agent: test/1", "Cookie: cookie-secret"]
        await visitor.request(get("/a?token=query-secret", HOST, *lines))
        for who in (agent, other):
            shown = [f"{name}: {value}" for name, value in who.text_headers.items()]
            await visitor.request(get("/b", HOST, *lines, *shown))
        await visitor.request(get("/c", HOST, "Cf-Access-Client-Id: unknown", "Cf-Access-Client-Secret: x"))
        await visitor.request(get("/d", "open.test"))
        down = await visitor.request(get("/e", "down.test"))
        assert down.status == 502
        async with await h2_visitor(house.edge.visitor_address) as second:
            log = await second.ask(pseudo={"authority": b"open.test"}, path=b"/f", method=b"POST", body=b"12345")
            assert log.status == 200
    found = records(tmp_path)
    told = [(row["URL"], row["HTTPStatusCode"], row["Action"], row["Reason"], row["ActorType"]) for row in found]
    assert told == [
        ("/a", 401, "block", "no_credentials", "anonymous"),
        ("/b", 200, "allow", "policy_matched", "service_token"),
        ("/b", 403, "block", "no_policy_matched", "service_token"),
        ("/c", 401, "block", "invalid_credentials", "anonymous"),
        ("/d", 200, "allow", "no_application", "anonymous"),
        ("/e", 502, "allow", "no_application", "anonymous"),
        ("/f", 200, "allow", "no_application", "anonymous"),
    ]
    passed = found[1]
    assert passed["ServiceTokenName"] == "agent-01"
    assert passed["ServiceTokenID"].endswith(".access")
    assert (passed["Role"], passed["Labels"]) == ("reader", ["x"])
    assert (passed["PolicyID"], passed["PolicyRevision"], passed["AppDomain"]) == ("p", 7, HOST)
    assert passed["DestinationTunnelID"] == str(TUNNEL_ID)
    assert passed["DestinationReplicaID"]
    assert passed["SourceIP"] == "127.0.0.1"
    assert passed["UserAgent"] == "test/1"
    assert passed["BytesReceived"] > 50
    assert (found[6]["HTTPVersion"], found[6]["BytesSent"]) == ("2", 5)
    assert "DestinationTunnelID" not in found[0]
    assert len({row["RayID"] for row in found}) == len(found)
    text = "".join(path.read_text() for path in log_files(tmp_path))
    assert not [secret for secret in secrets if secret in text]


async def test_websockets_and_tcp_streams_are_recorded_at_their_end(tmp_path: Path) -> None:
    async with recorded(tmp_path) as (house, world):
        agent = world.agent(role="reader")
        host, port = house.edge.visitor_address
        options: dict[str, Any] = {
            "host": host, "port": port, "additional_headers": agent.text_headers, "compression": None,
            "proxy": None,
        }  # fmt: skip
        async with RawVisitor((host, port)) as visitor:
            shown = [f"{name}: {value}" for name, value in agent.text_headers.items()]
            upgrade = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
            visitor.send(get("/one", HOST, *upgrade, "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", *shown))
            assert (await visitor.head()).status == 101
            visitor.send(b"x" * 1000)
            assert await visitor.reader.readexactly(1000) == b"x" * 1000
        async with connect(f"ws://{HOST}:{port}/two", **options) as socket:
            agent.delete()
            with pytest.raises(ConnectionClosed):
                await socket.recv()
        async with RawVisitor(("127.0.0.1", await house.edge.add_tcp_port("db.test"))) as visitor:
            visitor.send(b"GET / HTTP/1.1\r\n\r\n")
            assert await visitor.reader.readuntil(b"\r\n")
    found = {(row["Protocol"], row["URL"]): row for row in records(tmp_path)}
    one, two, tcp = found["WEBSOCKET", "/one"], found["WEBSOCKET", "/two"], found["TCP", "/"]
    assert (one["HTTPStatusCode"], one["ServiceTokenName"]) == (101, "agent-01")
    assert one["BytesSent"] >= 1000 <= one["BytesReceived"]
    assert one["SessionEndTime"] >= one["SessionStartTime"]
    assert two["ConnectionCloseReason"] == "REVOKED"
    assert tcp["HTTPHost"] == "db.test"
    assert tcp["BytesReceived"] > 0


async def test_nobody_is_served_unrecorded_where_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with recorded(tmp_path, refuse_when_full=True) as (house, _):
        audit = house.edge.audit
        assert audit is not None
        async with RawVisitor(house.edge.visitor_address) as visitor:
            assert (await visitor.request(get("/", "open.test"))).status == 200
            audit._failing = True
            refused = await visitor.request(get("/", "open.test"))
            assert (refused.status, json.loads(refused.body)["reason"]) == (503, "audit_unavailable")
            audit._failing = False
            assert (await visitor.request(get("/", "open.test"))).status == 200
    assert [row["HTTPStatusCode"] for row in records(tmp_path)] == [200, 503, 200]


def run_command(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["audit", *arguments])
    return result.exit_code, result.output


async def test_the_commands_verify_show_and_search(tmp_path: Path) -> None:
    async with recorded(tmp_path) as (house, world), RawVisitor(house.edge.visitor_address) as visitor:
        shown = [f"{name}: {value}" for name, value in world.agent(role="reader").text_headers.items()]
        await visitor.request(get("/first", HOST, *shown))
        await visitor.request(get("/second", HOST))
    code, text = run_command("verify", str(tmp_path))
    assert (code, text.startswith("The audit log holds: 2 records")) == (0, True)
    last = text.split()[-1]
    assert run_command("verify", str(tmp_path), "--last", last)[0] == 0
    assert run_command("verify", str(tmp_path), "--last", "0" * 64)[0] == 1
    assert run_command("tail", str(tmp_path), "-n", "1")[1].count("/second") == 1
    code, text = run_command("search", str(tmp_path), "-w", "ServiceTokenName=agent*", "--json")
    assert [json.loads(line)["URL"] for line in text.splitlines()] == ["/first"]
    assert run_command("search", str(tmp_path), "-w", "Allowed=false")[1].count("\n") == 1
    assert run_command("search", str(tmp_path), "-w", "Allowed")[0] != 0
    assert run_command("verify", str(tmp_path / "nothing"))[0] != 0
    (path,) = log_files(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"/first", b"/fir5t"))
    code, text = run_command("verify", str(tmp_path))
    assert code == 1
    assert "does not hold" in text


def test_what_a_visitor_chose_moves_no_cursor(tmp_path: Path) -> None:
    from pyconnector.edge.audit.files import AuditFiles

    files = AuditFiles(tmp_path)
    files.write([{"Datetime": "2027", "RayID": "r", "URL": "/\x1b[2J\r\n/", "HTTPHost": "h"}])
    files.close()
    assert "\x1b" not in run_command("tail", str(tmp_path))[1]


async def test_an_edge_that_cannot_open_its_log_does_not_start(tmp_path: Path) -> None:
    from pyconnector.edge import LocalEdge
    from pyconnector.edge.settings import SettingsError

    (tmp_path / "file").write_text("")

    with pytest.raises(SettingsError, match="cannot be used"):
        async with LocalEdge(EdgeSettings(audit=AuditSettings(directory=tmp_path / "file"))):
            pass
