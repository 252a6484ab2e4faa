"""New rules while visitors keep asking: none is dropped, and none meets half of one and half of another."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import httpx
import pytest

from pyconnector.connector.api.errors import ReloadRejected
from pyconnector.edge import EdgeSettings
from pyconnector.ingress import parse_ingress
from tests.support.houses.house import TUNNEL_ID, House, open_house, tunnel
from tests.support.loop.leaks import nothing_left
from tests.support.peers.load import under_load
from tests.support.peers.raw_origin import Peer, answering, raw_origin
from tests.support.peers.raw_visitor import RawVisitor, get


def body(text: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text)


async def reload(house: House, *rules: dict[str, object]) -> None:
    await house.connector.reload(replace(house.connector.config, ingress=parse_ingress({"ingress": list(rules)})))


async def test_a_reload_under_load_drops_nothing(engine: str) -> None:
    async with raw_origin(answering(body(b"one"))) as one, raw_origin(answering(body(b"two"))) as two:
        services = [f"http://127.0.0.1:{origin.port}" for origin in (one, two)]
        async with open_house([{"service": services[0]}], engine=engine, connections=2) as house:
            async with under_load(house.edge.visitor_address) as load:
                for number in range(1, 21):
                    await reload(house, {"service": services[number % 2]})
                    await load.until(5)
            assert set(load.answers) == {(200, b"one"), (200, b"two")}


async def test_a_request_under_way_keeps_the_rules_that_it_began_with() -> None:
    go_on = asyncio.Event()

    async def slow(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nold")
        await go_on.wait()
        await peer.send(b"est")

    async with raw_origin(slow) as origin:
        async with open_house([{"service": f"http://127.0.0.1:{origin.port}"}]) as house, nothing_left():
            async with (
                RawVisitor(house.edge.visitor_address) as visitor,
                RawVisitor(house.edge.visitor_address) as other,
            ):
                visitor.send(get())
                await visitor.head()
                await reload(house, {"service": "http_status:299"})
                assert (await other.request(get())).status == 299
                go_on.set()
                assert await visitor.reader.readexactly(6) == b"oldest"


@pytest.mark.parametrize(
    "rule",
    [
        {"service": "https://127.0.0.1:1", "originRequest": {"caPool": "/does/not/exist"}},
        {"service": "http_status:200", "originRequest": {"access": {"required": True}}},
    ],
)
async def test_rules_that_cannot_serve_leave_the_old_ones(rule: dict[str, object]) -> None:
    async with open_house([{"service": "http_status:299"}]) as house:
        async with under_load(house.edge.visitor_address, visitors=2) as load:
            with pytest.raises((ReloadRejected, Exception)) as refused:
                await reload(house, rule)
            assert str(refused.value)
            await load.until(5)
        assert set(load.statuses) == {299}


async def test_the_edge_pushes_a_configuration_under_load(engine: str) -> None:
    settings = EdgeSettings(
        tunnels=(tunnel(configuration=json.dumps({"ingress": [{"service": "http_status:201"}]}).encode()),)
    )
    async with open_house([{"service": "http_status:299"}], engine=engine, connections=2, settings=settings) as house:
        assert house.edge.control_address is not None
        control = "http://{}:{}".format(*house.edge.control_address)
        async with httpx.AsyncClient(base_url=control, trust_env=False) as client:
            async with under_load(house.edge.visitor_address) as load:
                await load.until(1, status=201)  # what the edge had for this tunnel from the start
                for status in (202, 203, 206):
                    pushed = {"ingress": [{"service": f"http_status:{status}"}]}
                    answer = await client.post(f"/tunnels/{TUNNEL_ID}/configuration", json=pushed)
                    assert answer.status_code == 200, answer.text
                    assert [one["error"] for one in answer.json()["answers"]] == [""]
                    await load.until(10, status=status)
                for bad in ({"ingress": [{"service": "nonsense"}]}, {"ingress": 5}):
                    answer = await client.post(f"/tunnels/{TUNNEL_ID}/configuration", json=bad)
                    assert answer.status_code == 422
                    assert answer.json()["answers"][0]["error"]
                    await load.until(10, status=206)
                last = load.answers.copy()
            assert set(load.statuses) <= {299, 201, 202, 203, 206}
            assert last[206, b""] > 0
        with pytest.raises(ReloadRejected, match="the edge's configuration"):
            await reload(house, {"service": "http_status:404"})
