"""The stack against the kernel's own TCP, over a TUN device in a network namespace of the test."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import socket
from collections.abc import Awaitable, Callable, Coroutine
from ipaddress import ip_address
from typing import Any

import pytest

from pyconnector.transport.ip.icmp import Error
from pyconnector.transport.ip.stack import Asked, TcpAsked
from tests.support.houses.namespaces import run_in_own_network, why_not
from tests.transport.ip.tun_house import CLIENT, Path, TunHouse, tun_house

WHY_NOT = why_not() or ("" if os.path.exists("/dev/net/tun") else "there is no /dev/net/tun")
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "TUN devices can be made")
SERVICE, SERVICE6 = "10.99.0.9", "fd99::9"


def run(scenario: Callable[[TunHouse], Awaitable[None]], path: Path | None = None) -> None:
    async def main() -> None:
        async with asyncio.timeout(60), tun_house(path) as house:
            await scenario(house)

    run_in_own_network(main)


async def echo(host: str, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(host, 80)
    sending = asyncio.create_task(send_all(writer, data))
    try:
        return await reader.read(-1)
    finally:
        await sending
        writer.close()


async def send_all(writer: asyncio.StreamWriter, data: bytes) -> None:
    for at in range(0, len(data), 20_000):
        writer.write(data[at : at + 20_000])
        await writer.drain()
    writer.write_eof()


@pytest.mark.parametrize("host", [SERVICE, SERVICE6])
def test_bytes_pass_both_ways_to_their_ends(host: str) -> None:
    async def scenario(house: TunHouse) -> None:
        data = random.Random(7).randbytes(1_000_000)
        assert await echo(host, data) == data
        assert len(house.stack) == 0

    run(scenario)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_loss_reordering_and_duplication_change_no_byte(seed: int) -> None:
    async def scenario(house: TunHouse) -> None:
        data = random.Random(seed).randbytes(150_000)
        found = await asyncio.gather(*(echo(SERVICE, data[index:]) for index in range(3)))
        assert found == [data[index:] for index in range(3)]
        assert sum(connection.retransmitted for connection in house.connections) > 0

    run(scenario, Path(loss=0.02, duplication=0.02, reordering=0.05, seed=seed))


def test_a_slow_reader_closes_the_window_and_gets_every_byte() -> None:
    async def scenario(house: TunHouse) -> None:
        data = random.Random(9).randbytes(1_500_000)
        loop = asyncio.get_running_loop()
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            sock.setblocking(False)
            await loop.sock_connect(sock, (SERVICE, 80))
            sending = asyncio.create_task(loop.sock_sendall(sock, data))
            connection = house.connections[0]
            while connection._probe_at is None:  # nobody reads, so the window closes in the end
                await asyncio.sleep(0.01)
            found = b""
            while len(found) < len(data):
                found += await loop.sock_recv(sock, 65_536)
            await sending
            assert found == data

    run(scenario)


def test_many_connections_at_once() -> None:
    async def scenario(house: TunHouse) -> None:
        found = await asyncio.gather(*(echo(SERVICE, b"%d" % number) for number in range(120)))
        assert found == [b"%d" % number for number in range(120)]
        assert len(house.stack) == 0

    run(scenario)


async def error_of(connecting: Coroutine[Any, Any, Any]) -> int:
    with pytest.raises(OSError) as caught:  # noqa: PT011 - its number is what is looked at
        await connecting
    return caught.value.errno or 0


def test_refusals_are_what_a_kernel_makes_of_them() -> None:
    async def scenario(house: TunHouse) -> None:
        def refuse(asked: Asked) -> None:
            assert isinstance(asked, TcpAsked)
            port = asked.connection.key.destination_port
            if port == 81:
                asked.connection.refuse()
            else:
                error = Error.PROHIBITED if port == 82 else Error.NO_ROUTE
                house.stack.refuse_connection(asked.connection, error, house.now)

        house.decide = refuse
        for host, prohibited in ((SERVICE, errno.EHOSTUNREACH), (SERVICE6, errno.EACCES)):
            assert await error_of(asyncio.open_connection(host, 81)) == errno.ECONNREFUSED
            assert await error_of(asyncio.open_connection(host, 82)) == prohibited
            assert await error_of(asyncio.open_connection(host, 83)) == errno.ENETUNREACH
        assert len(house.stack) == 0

    run(scenario)


def test_each_direction_ends_by_itself_whoever_is_first() -> None:
    async def scenario(house: TunHouse) -> None:
        house.finish_with_peer = False
        for first in ("client", "service"):
            reader, writer = await asyncio.open_connection(SERVICE, 80)
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            connection = house.connections[-1]
            if first == "client":
                writer.write_eof()
                while not connection.peer_ended:
                    await asyncio.sleep(0.005)
                connection.write(b"more", house.now)
                connection.finish(house.now)
                house.flush()
                assert await reader.read() == b"more"
            else:
                connection.finish(house.now)
                house.flush()
                assert await reader.read() == b""
                writer.write(b"more")
                writer.write_eof()
                while not connection.peer_ended:
                    await asyncio.sleep(0.005)
            assert connection.needs_time_wait == (first == "service")
            assert len(house.stack) == 0
            writer.close()

    run(scenario)


def test_a_reset_of_either_side_reaches_the_other() -> None:
    async def scenario(house: TunHouse) -> None:
        reader, writer = await asyncio.open_connection(SERVICE, 80)
        house.connections[-1].abort()
        house.flush()
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
        writer.close()
        _, writer = await asyncio.open_connection(SERVICE, 80)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.close()
        while len(house.stack):
            await asyncio.sleep(0.005)

    run(scenario)


def test_datagrams_pass_and_what_nobody_assigned_does_not() -> None:
    async def scenario(house: TunHouse) -> None:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.connect((SERVICE, 53))
            sock.send(b"question")
            assert await loop.sock_recv(sock, 100) == b"question"
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 1)
            sock.send(b"too far")
            while not house.stack.dropped["hop_limit"]:
                await asyncio.sleep(0.005)
            house.stack.sources = frozenset()
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 64)
            sock.send(b"spoofed")
            while not house.stack.dropped["source"]:
                await asyncio.sleep(0.005)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as sock:
            house.stack.sources = frozenset((ip_address(CLIENT).packed,))
            sock.setblocking(False)
            sock.connect((SERVICE, 0))
            sock.send(b"\x08\x00\x00\x00\x00\x00\x00\x01ping")
            assert (await loop.sock_recv(sock, 100))[8:] == b"ping"

    run(scenario)
