"""Several services for one rule, and patience while one restarts: through edge and connector."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from pyconnector.ingress import parse_ingress
from tests.e2e.requests.test_opt_in import ask, closed_port, rules_of, saying
from tests.support.houses.house import open_house
from tests.support.identity.access import AUDIENCE, TEAM, Team
from tests.support.loop.leaks import nothing_left
from tests.support.peers.raw_origin import Peer, Script, answering, raw_origin
from tests.support.peers.raw_visitor import RawVisitor, get


async def test_434_three_backends_for_one_hostname_take_turns(engine: str) -> None:
    text = """
    ingress:
      - hostname: service.domain.com
        service: http://backend-01.lan
        originRequest:
          backends:
            - http://backend-02.lan
            - http://backend-03.lan
          balance: round-robin
      - service: http_status:404
    """

    async with (
        raw_origin(answering(saying(b"1"))) as one,
        raw_origin(answering(saying(b"2"))) as two,
        raw_origin(answering(saying(b"3"))) as three,
    ):
        ports = {"backend-01.lan": one.port, "backend-02.lan": two.port, "backend-03.lan": three.port}
        rules = rules_of(text, ports)
        async with open_house(rules, engine=engine) as house:
            answers = [(await ask(house, "/", "service.domain.com")).body for _ in range(6)]
            assert answers == [b"1", b"2", b"3"] * 2
            # A reload starts its own round, and drops nobody.
            same = replace(house.connector.config, ingress=parse_ingress({"ingress": rules}))
            asking = [asyncio.ensure_future(ask(house, "/", "service.domain.com")) for _ in range(9)]
            await house.connector.reload(same)
            asking += [asyncio.ensure_future(ask(house, "/", "service.domain.com")) for _ in range(9)]
            answers = [answer.body for answer in await asyncio.gather(*asking)]
            assert set(answers) == {b"1", b"2", b"3"}


async def test_725_a_sick_replica_is_left_out_and_comes_back() -> None:
    text = """
    ingress:
      - hostname: foo.example.org
        service: http://vm01:8000
        originRequest:
          backends: [http://vm02:8000]
          healthCheck: {path: /health, interval: 100ms, timeout: 1s, unhealthyAfter: 2, healthyAfter: 3}
      - service: http_status:404
    """

    sick = asyncio.Event()

    async def vm01(peer: Peer) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await peer.reader.readuntil(b"\r\n\r\n")
                ill = sick.is_set() and head.startswith(b"GET /health ")
                peer.writer.write(b"HTTP/1.1 500 Ill\r\nContent-Length: 0\r\n\r\n" if ill else saying(b"vm01"))

    async with raw_origin(vm01) as one, raw_origin(answering(saying(b"vm02"))) as two:
        rules = rules_of(text, {"vm01:8000": one.port, "vm02:8000": two.port})
        async with open_house(rules) as house:

            async def served_by(name: bytes) -> None:
                async with asyncio.timeout(30):
                    while (await ask(house, "/page", "foo.example.org")).body != name:
                        await asyncio.sleep(0.01)

            await served_by(b"vm01")
            sick.set()
            await served_by(b"vm02")
            sick.clear()
            await served_by(b"vm01")


@contextlib.asynccontextmanager
async def listening(port: int, *scripts: Script) -> AsyncIterator[None]:
    """A service that comes up late, on a port that was told before."""
    async with raw_origin(*scripts) as inside:

        async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await inside.accept(reader, writer)

        server = await asyncio.start_server(carry, "127.0.0.1", port)
        try:
            yield
        finally:
            server.close()
            # From Python 3.12 on this also waits for connections, which the connector keeps for later.
            for peer in inside.peers:
                peer.writer.close()
            await server.wait_closed()


async def test_451_requests_wait_while_a_service_restarts(engine: str) -> None:
    text = "{ingress: [{service: 'http://localhost:8080', originRequest: {retryFor: 10s}}]}"

    posted: list[bytes] = []

    async def service(peer: Peer) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await peer.reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"POST"):
                    posted.append(await peer.exactly(5))
                peer.writer.write(saying(b"back"))

    port = closed_port()
    async with open_house(rules_of(text, {"localhost:8080": port}), engine=engine) as house:
        getting = asyncio.ensure_future(ask(house))
        async with RawVisitor(house.edge.visitor_address) as visitor:
            visitor.send(b"POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\n\r\nhello")
            posting = asyncio.ensure_future(visitor.response())
            while house.connector.statistics().active_requests < 2:
                await asyncio.sleep(0.005)
            await asyncio.sleep(0.12)  # at least one refusal each
            assert not getting.done()
            assert not posting.done()
            async with listening(port, service):
                assert (await getting).body == b"back"
                assert (await posting).body == b"back"
    assert posted == [b"hello"], "sent once"


async def test_451_a_visitor_who_leaves_while_it_waits_is_forgotten() -> None:
    rules = [{"service": f"http://127.0.0.1:{closed_port()}", "originRequest": {"retryFor": "1h"}}]
    async with open_house(rules) as house, nothing_left():
        async with RawVisitor(house.edge.visitor_address) as visitor:
            visitor.send(get())
            while house.connector.statistics().active_requests < 1:
                await asyncio.sleep(0.005)
            visitor.abort()
            async with asyncio.timeout(30):
                while house.connector.statistics().active_requests:
                    await asyncio.sleep(0.005)


async def test_access_is_asked_before_any_backend_and_its_refusals_are_no_failures() -> None:
    team = Team(now=time.time())

    async def keys(url: str) -> bytes:
        return team.document()

    async with raw_origin(answering(saying(b"ok"))) as origin:
        options = {
            "backends": [f"http://127.0.0.1:{origin.port}"],
            "retryFor": "1s",
            "errorPage": {"body": "down"},
            "access": {"required": True, "teamName": TEAM, "audTag": [AUDIENCE]},
        }
        rules = [{"service": f"http://127.0.0.1:{closed_port()}", "originRequest": options}]
        async with open_house(rules, connector_options={"fetch_access_keys": keys}) as house:
            refused = await ask(house)
            assert (refused.status, refused.body) == (403, b"")
            assert not origin.peers
            token = team.token().decode()
            passed = await ask(house, "/", "app.test", f"Cf-Access-Jwt-Assertion: {token}")
            assert (passed.status, passed.body) == (200, b"ok")


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_streams_go_to_the_next_service_too_with_the_visitors_address(version: str) -> None:
    received: asyncio.Queue[bytes] = asyncio.Queue()

    async def second(peer: Peer) -> None:
        await received.put(await peer.rest())
        await peer.send(b"bye")

    async with raw_origin(second) as origin:
        options = {"backends": [f"tcp://127.0.0.1:{origin.port}"], "proxyProtocol": version}
        rules = [{"service": f"tcp://127.0.0.1:{closed_port()}", "originRequest": options}]
        async with open_house(rules) as house:
            port = await house.edge.add_tcp_port("db.test")
            async with RawVisitor(("127.0.0.1", port)) as visitor:
                visitor.send(b"hello")
                visitor.writer.write_eof()
                assert await visitor.reader.read() == b"bye"
    announced, payload = (await received.get()).split(b"hello", 1)
    assert payload == b""
    assert announced.startswith(b"PROXY TCP4 127.0.0.1 " if version == "v1" else b"\r\n\r\n\0\r\nQUIT\n\x21\x11")


async def test_a_stream_rule_without_any_service_that_answers_is_a_refusal_even_with_an_error_page_at_the_top() -> None:
    rules = [{"service": f"tcp://127.0.0.1:{closed_port()}"}]
    async with open_house(rules, originRequest={"errorPage": {"status": 200, "body": "down"}}) as house:
        port = await house.edge.add_tcp_port("db.test")
        async with RawVisitor(("127.0.0.1", port)) as visitor:
            with pytest.raises(ConnectionResetError):
                await visitor.reader.read()
