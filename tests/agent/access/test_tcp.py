"""`access tcp` through an edge: bytes both ways, refusals, revocation, and the ends of a connection."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pyconnector.agent import carry
from pyconnector.agent.access.credentials import Credentials
from pyconnector.agent.access.dial import Dialer
from pyconnector.agent.access.errors import AccessError
from pyconnector.agent.access.forward import Forward
from pyconnector.agent.access.place import connect_to, parse_place
from pyconnector.agent.carry import join
from tests.support.houses.tls_house import TlsHouse, echo, tls_house
from tests.support.identity.agents import HOST, Agent


def dialer(house: TlsHouse, agent: Agent | None = None, **more: Any) -> Dialer:
    shown = {} if agent is None else {"client_id": agent.client_id, "secret": agent.secret}
    place = connect_to(parse_place(HOST), house.connect_to)
    return Dialer(place, Credentials(**{**shown, **more}), ca_file=house.ca)


@contextlib.asynccontextmanager
async def forwarded(to: Dialer) -> AsyncIterator[tuple[str, int]]:
    port = Forward(to)
    try:
        yield await port.start("127.0.0.1", 0)
    finally:
        await port.close()


@pytest.mark.usefixtures("each_loop")
async def test_bytes_pass_both_ways_under_a_service_token(tmp_path: Path) -> None:
    async with asyncio.timeout(60), tls_house(tmp_path) as house:
        world = house.world()
        world.application()
        data = os.urandom(1_000_003)

        async def one() -> None:
            reader, writer = await asyncio.open_connection(*where)
            writer.write(data)
            assert await reader.readexactly(len(data)) == data
            writer.close()

        async with forwarded(dialer(house, world.agent())) as where:
            await asyncio.gather(*(one() for _ in range(4)))


@pytest.mark.usefixtures("each_loop")
async def test_refusals_reset_the_program_and_say_why(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "pyconnector.access"):
        async with asyncio.timeout(60), tls_house(tmp_path) as house:
            world = house.world()
            world.application()
            agent = world.agent()
            with pytest.raises(AccessError, match="send a service token") as caught:
                await dialer(house).open()
            assert caught.value.status == 401
            async with forwarded(dialer(house, agent, secret="wrong-secret")) as where:
                reader, writer = await asyncio.open_connection(*where)
                with pytest.raises(ConnectionError):
                    await reader.read()
                writer.close()
            with pytest.raises(AccessError, match="is not trusted"):
                await Dialer(dialer(house).place, Credentials()).open()
            nowhere = connect_to(parse_place(HOST), "127.0.0.1:1")
            with pytest.raises(AccessError, match="cannot be reached"):
                await Dialer(nowhere, Credentials(), ca_file=house.ca).open()
    assert caplog.messages == [f"{HOST}: The service token is not valid"]


async def test_a_revoked_token_ends_the_stream_with_a_sentence(tmp_path: Path) -> None:
    async with asyncio.timeout(60), tls_house(tmp_path) as house:
        world = house.world()
        world.application()
        agent = world.agent()
        stream = await dialer(house, agent).open()
        await stream.send(b"hello")
        assert await stream.receive() == b"hello"
        agent.delete()
        with pytest.raises(AccessError, match="the service token is no longer valid"):
            await stream.receive()
        assert await stream.receive() == b""


async def test_an_edge_that_breaks_off_is_not_taken_for_the_end(tmp_path: Path) -> None:
    async with asyncio.timeout(60), tls_house(tmp_path) as house:
        stream = await dialer(house).open()
        await house.edge.stop()
        with pytest.raises(AccessError, match="broke the connection"):
            await stream.receive()


async def answers_at_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A service that answers once everything has come."""
    data = await reader.read()
    writer.write(b"%d bytes" % len(data))
    writer.close()


async def greets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A service that ends first."""
    writer.write(b"hello")
    writer.close()


async def test_a_service_answers_after_its_client_has_sent_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carry, "SILENCE_AFTER_END", 0.05)

    async with asyncio.timeout(60), tls_house(tmp_path, answers_at_the_end) as house:
        async with forwarded(dialer(house)) as where:
            reader, writer = await asyncio.open_connection(*where)
            writer.write(b"x" * 100_000)
            writer.write_eof()
            assert await reader.read() == b"100000 bytes"
            writer.close()


async def test_the_end_of_a_service_is_the_end(tmp_path: Path) -> None:
    async with asyncio.timeout(60), tls_house(tmp_path, greets) as house, forwarded(dialer(house)) as where:
        reader, writer = await asyncio.open_connection(*where)
        assert await reader.read() == b"hello"
        writer.close()


class Silent:
    """A program that sends nothing, and breaks when something is sent to it."""

    half_closes = True

    async def receive(self) -> bytes:
        await asyncio.Event().wait()
        return b""

    async def send(self, data: bytes) -> None:
        raise BrokenPipeError

    def finish(self) -> None: ...

    def close(self) -> None: ...

    def abort(self) -> None: ...


async def test_a_program_that_leaves_ends_its_service(tmp_path: Path) -> None:
    gone = asyncio.Event()

    async def watch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x")
        with contextlib.suppress(ConnectionError):
            await reader.read()
        gone.set()
        writer.close()

    async with asyncio.timeout(60), tls_house(tmp_path, watch) as house:
        with pytest.raises(BrokenPipeError):
            await join(Silent(), await dialer(house).open())
        await gone.wait()


def command(house: TlsHouse, *arguments: str) -> list[str]:
    start = [sys.executable, "-m", "pyconnector", "access", "ssh", "--cacert", str(house.ca)]
    return [*start, "--connect-to", house.connect_to, *arguments]


def environment(agent: Agent) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TUNNEL_")}
    return clean | {"TUNNEL_SERVICE_TOKEN_ID": agent.client_id, "TUNNEL_SERVICE_TOKEN_SECRET": agent.secret}


async def test_the_command_carries_standard_input_and_output(tmp_path: Path) -> None:
    async with asyncio.timeout(60), tls_house(tmp_path) as house:
        world = house.world()
        world.application()
        agent = world.agent()
        data = os.urandom(300_001)
        process = await asyncio.create_subprocess_exec(
            *command(house, "--hostname", HOST), env=environment(agent), stdin=-1, stdout=-1, stderr=-1
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(data)
        assert await process.stdout.readexactly(len(data)) == data
        agent.delete()
        out, err = await process.communicate()
        assert (process.returncode, out) == (1, b"")
        assert b"the service token is no longer valid" in err
        process = await asyncio.create_subprocess_exec(
            *command(house, "--hostname", HOST), env=environment(agent), stdin=-1, stdout=-1, stderr=-1
        )
        out, err = await process.communicate()
        assert (process.returncode, out) == (1, b"")
        assert err.decode() == f"error: {HOST}: The service token is not valid\n"


async def test_one_command_serves_several_ports(tmp_path: Path) -> None:
    async with asyncio.timeout(60), await asyncio.start_server(greets, "127.0.0.1", 0) as other:
        more = (("other.example.com", other.sockets[0].getsockname()[1]),)
        async with tls_house(tmp_path, echo, more=more) as house:
            process = await asyncio.create_subprocess_exec(
                *command(house, "-T", HOST, "-L", "127.0.0.1:0", "-T", "other.example.com", "-L", "0"), stderr=-1
            )
            assert process.stderr is not None
            ports = [int((await process.stderr.readline()).split()[0].rpartition(b":")[2]) for _ in range(2)]
            reader, writer = await asyncio.open_connection("127.0.0.1", ports[0])
            writer.write(b"abc")
            assert await reader.readexactly(3) == b"abc"
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", ports[1])
            assert await reader.read() == b"hello"
            writer.close()
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "--hostname is missing"),
        (("--hostname", "a.example", "--hostname", "b.example"), "each forward needs one of both"),
        (("--hostname", "a.example", "--url", "nowhere"), "--url"),
        (("--hostname", "a b"), "is no URL"),
        (("--hostname", "a.example", "--service-token-id", "x"), "one of them is missing"),
        (("--hostname", "a.example", "-H", "x"), "--header"),
        (("--hostname", "a.example", "--service-token-file", "none"), "cannot be read"),
        (("--hostname", "a.example", "--cacert", "none"), "holds no certificate"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments: tuple[str, ...], why: str) -> None:
    from click.testing import CliRunner

    from pyconnector.connector.cli import main

    done = CliRunner().invoke(main, ["access", "tcp", *arguments], env={"TUNNEL_SERVICE_TOKEN_ID": None})
    assert done.exit_code == 2
    assert why in done.output
