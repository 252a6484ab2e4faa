"""An interface of the agent's namespace that leads into the private network: whatever the system sends there passes."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import socket
import tempfile
from pathlib import Path
from typing import Any

import pytest

from pyconnector.agent import Mesh
from pyconnector.agent.interface import interface as interfaces
from pyconnector.agent.interface.carry import Carrying
from pyconnector.agent.interface.interface import Interface
from pyconnector.agent.split import Includes
from pyconnector.edge import LocalEdge
from pyconnector.protocol.connect_ip import RESOLVER
from tests.agent.test_client import token_file
from tests.e2e.private.test_four_rooms import TOKEN, connector_to, edge_settings, private_services
from tests.support.houses.four_rooms import EDGE_FOR_AGENTS, PRIVATE, four_rooms
from tests.support.houses.namespaces import why_not
from tests.support.services.process import pyconnector

WHY_NOT = why_not() or ("" if os.path.exists("/dev/net/tun") else "there is no /dev/net/tun")
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "namespaces and TUN devices can be made")


async def output(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    return said.decode()


async def addresses() -> list[dict[str, Any]]:
    """The interfaces of this namespace that are ours."""
    found: list[dict[str, Any]] = json.loads(await output("ip", "-j", "address"))
    return [each for each in found if each["ifname"].startswith("pyc")]


@pytest.mark.parametrize("protocol", ["quic", "http2"])
def test_curl_ping_and_udp_pass_through_an_interface(
    protocol: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interfaces, "FIRST_DELAY", 0.05)
    resolv = tmp_path / "resolv.conf"
    resolv.write_text(f"nameserver {RESOLVER}\noptions timeout:5\n", encoding="ascii")
    with four_rooms() as rooms, private_services(rooms) as services:
        edge = LocalEdge(edge_settings())
        rooms.edge.run(edge.start())
        connector = rooms.site.run(connector_to(edge.quic_address, edge.ca_path, services.dns, 3))
        gateway = edge.gateway
        assert gateway is not None
        assert gateway.http_address is not None
        url = f"https://{EDGE_FOR_AGENTS}:{gateway.http_address[1]}"

        async def curl(host: str) -> str:
            command = f"mount --bind {resolv} /etc/resolv.conf && curl -s -m 10 http://{host}:{services.http}/private"
            return await output("unshare", "-m", "sh", "-c", command)

        async def agent() -> None:
            loop = asyncio.get_running_loop()
            mesh = Mesh(url, TOKEN, ca_file=edge.ca_path, protocol=protocol)
            interface = Interface(mesh, Includes(["192.168.77.0/24", "*.internal"]))
            await interface.start()
            async with asyncio.timeout(20):
                await interface.wait_ready()
            assert mesh.protocol == protocol
            assert [each["mtu"] for each in await addresses()] == [1280]
            for host in (PRIVATE, "db.internal"):
                assert (await curl(host)).endswith("GET /private HTTP/1.1")
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.connect((PRIVATE, services.udp))
                sock.send(b"question")
                async with asyncio.timeout(10):
                    assert await loop.sock_recv(sock, 100) == b"question"
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as sock:
                sock.setblocking(False)
                sock.connect((PRIVATE, 0))
                sock.send(b"\x08\x00\x00\x00\x00\x00\x00\x01ping")
                async with asyncio.timeout(10):
                    assert (await loop.sock_recv(sock, 100))[8:] == b"ping"
            for port, number in ((22, errno.EHOSTUNREACH), (services.closed, errno.ECONNREFUSED)):
                with pytest.raises(OSError) as caught:  # noqa: PT011 - its number is what is looked at
                    await asyncio.open_connection(PRIVATE, port)
                assert caught.value.errno == number
            assert interface._carrying is not None
            half = Carrying(interface._tun, interface._carrying._end, interface._told)
            half.addresses = interface._carrying.addresses
            await interface._told(half)  # connected again, and routes are not told yet
            assert "192.168.77.0/24" in await output("ip", "route")
            interface._carrying._end.abort()  # as if the gateway broke off
            assert (await curl(PRIVATE)).endswith("GET /private HTTP/1.1")
            await interface.close()
            await mesh.close()
            assert await addresses() == []
            assert PRIVATE.rpartition(".")[0] not in await output("ip", "route")

        rooms.agent.run(agent(), timeout=100)
        kinds = [(each["Onramp"], each["Protocol"], each["ResolvedFQDN"]) for each in gateway.records.recent]
        assert ("connect-ip", "TCP", "db.internal") in kinds
        assert {kind[1] for kind in kinds} == {"TCP", "UDP", "ICMP"}
        rooms.site.run(connector.stop())
        rooms.edge.run(edge.stop())


def test_mesh_join_makes_an_interface_and_leaves_nothing(tmp_path: Path) -> None:
    with four_rooms() as rooms, private_services(rooms) as services:
        edge = LocalEdge(edge_settings())
        rooms.edge.run(edge.start())
        connector = rooms.site.run(connector_to(edge.quic_address, edge.ca_path, services.dns, 3))
        assert edge.gateway is not None
        assert edge.gateway.http_address is not None
        url = f"https://{EDGE_FOR_AGENTS}:{edge.gateway.http_address[1]}"

        async def agent() -> None:
            arguments = (
                "mesh", "join", url, "--token-file", token_file(tmp_path), "--cacert", edge.ca_path, "--tun",
                "--listen", "127.0.0.1:0", "--include", "192.168.77.0/24", "--loglevel", "info",
            )  # fmt: skip
            with tempfile.TemporaryDirectory(prefix="h") as home:
                async with pyconnector(*arguments, HOME=home) as join:
                    assert await join.line("interface: pyc") == "interface: pyc0"
                    await join.line("pyc0 has 100.96.0.2 and ")
                    answer = await output("curl", "-s", "-m", "10", f"http://{PRIVATE}:{services.http}/private")
                    assert answer.endswith("GET /private HTTP/1.1")
                    async with pyconnector("mesh", "status", HOME=home) as status:
                        assert await status.code() == 0
                        assert "interface:  pyc0: 100.96.0.2 and " in status.text
                    join.send_signal(signal.SIGTERM)
                    assert await join.code() == 0
            assert await addresses() == []

        rooms.agent.run(agent(), timeout=100)
        rooms.site.run(connector.stop())
        rooms.edge.run(edge.stop())
