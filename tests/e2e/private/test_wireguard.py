"""A stock WireGuard device in a namespace of its own: what it reaches, as whom, and what ends it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dns.message
import dns.rcode
import pytest

from pyconnector.identity.devices.wireguard import make_private_key, public_key_of
from tests.support.houses.four_rooms import Room
from tests.support.houses.namespaces import run_ip, why_not
from tests.support.houses.wireguard_house import DEVICE, DNS_ADDRESS, EDGE, NAMES, PORT, PRIVATE

ROOT = Path(__file__).resolve().parents[3]
SPOOFED = "100.96.0.9"
#: Of this process alone: wireguard-go has a socket of that name in the file system, which namespaces share.
LINK = f"wg{os.getpid()}"


def _why_not() -> str:
    if missing := [name for name in ("wireguard-go", "wg") if shutil.which(name) is None]:
        return f"there is no `{missing[0]}`: scripts/ensure-wireguard installs it"
    if not Path("/dev/net/tun").exists():
        return "this system lets nobody make an interface: there is no /dev/net/tun"
    return why_not()


pytestmark = pytest.mark.skipif(bool(_why_not()), reason=_why_not() or "a device can be made")


@dataclass
class House:
    """The edge's process, and the device's namespace."""

    process: subprocess.Popen[str]
    device: Room
    ready: dict[str, Any]

    def tell(self, line: str) -> dict[str, Any]:
        """Say `line` to the edge's process and return what it answers."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        found: dict[str, Any] = json.loads(self.process.stdout.readline() or "{}")
        return found

    def records(self, **fields: Any) -> list[dict[str, Any]]:
        """The records with these fields, once there is one: a flow's is written at its end."""
        end = time.monotonic() + 20
        while True:
            found = [each for each in self.tell("records")["records"] if fields.items() <= each.items()]
            if found or time.monotonic() > end:
                return found
            time.sleep(0.02)


@contextlib.contextmanager
def house(loop: str, tmp_path: Path) -> Iterator[House]:
    """Make the namespaces, join them, and start edge and device."""
    edge, device = f"pyc-wg-edge-{os.getpid()}", f"pyc-wg-dev-{os.getpid()}"
    private_key = make_private_key(secrets.token_bytes(32))
    with contextlib.ExitStack() as stack:
        for name in (edge, device):
            run_ip("netns", "add", name)
            stack.callback(run_ip, "netns", "del", name)
            run_ip("-n", name, "link", "set", "lo", "up")
        run_ip("-n", edge, "link", "add", "e0", "type", "veth", "peer", "name", "d0", "netns", device)
        for name, link, address in ((edge, "e0", f"{EDGE}/24"), (device, "d0", "10.99.1.2/24")):
            run_ip("-n", name, "address", "add", address, "dev", link)
            run_ip("-n", name, "link", "set", link, "up")
        run_ip("-n", edge, "address", "add", f"{PRIVATE}/32", "dev", "lo")
        process = stack.enter_context(
            subprocess.Popen(
                ["ip", "netns", "exec", edge, sys.executable, "-m", "tests.support.houses.wireguard_house",
                 public_key_of(private_key), loop],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            )
        )  # fmt: skip
        stack.callback(process.terminate)
        tunnel = stack.enter_context(
            subprocess.Popen(
                ["ip", "netns", "exec", device, "wireguard-go", "-f", LINK],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "LOG_LEVEL": "silent"},
            )
        )  # fmt: skip
        stack.callback(tunnel.terminate)
        room = Room(device)
        stack.callback(room.close)
        made = House(process, room, {})
        made.ready = made.answer()
        room.run(_wait_for_interface(device))
        setup = tmp_path / "wg0.conf"
        setup.write_text(
            f"[Interface]\nPrivateKey = {private_key}\n[Peer]\nPublicKey = {made.ready['server_key']}\n"
            f"AllowedIPs = 0.0.0.0/0\nEndpoint = {EDGE}:{PORT}\n"
        )
        subprocess.run(["ip", "netns", "exec", device, "wg", "setconf", LINK, str(setup)], check=True, timeout=20)
        for address in (DEVICE, SPOOFED):
            run_ip("-n", device, "address", "add", f"{address}/32", "dev", LINK)
        run_ip("-n", device, "link", "set", LINK, "mtu", "1280", "up")
        for network in (f"{DNS_ADDRESS}/32", NAMES, "192.168.0.0/16"):
            run_ip("-n", device, "route", "add", network, "dev", LINK, "src", DEVICE)
        yield made


async def _wait_for_interface(namespace: str) -> None:
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(subprocess.SubprocessError):
                run_ip("-n", namespace, "link", "show", LINK)
                return
            await asyncio.sleep(0.05)


async def get(host: str, port: int) -> bytes:
    """The answer to a request, b"" where the connection ends without one."""
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()


class Packets(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.arrived: asyncio.Queue[bytes] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.arrived.put_nowait(data)


async def ask(host: str, port: int, data: bytes, source: str = DEVICE) -> bytes:
    """The answer to a packet, sent again until there is one; b"" where there is none."""
    transport, packets = await asyncio.get_running_loop().create_datagram_endpoint(
        Packets, local_addr=(source, 0), remote_addr=(host, port)
    )
    try:
        for _ in range(20 if source == DEVICE else 2):
            transport.sendto(data)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    return await packets.arrived.get()
        return b""
    finally:
        transport.close()


async def lookup(name: str, kind: str = "A") -> dns.message.Message:
    query = dns.message.make_query(name, kind)
    return dns.message.from_wire(await ask(DNS_ADDRESS, 53, query.to_wire()))


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_stock_device_reaches_what_rules_allow_and_is_cut_off_when_it_is_deleted(loop: str, tmp_path: Path) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    with house(loop, tmp_path) as made:
        tcp, udp = made.ready["tcp"], made.ready["udp"]
        run = made.device.run
        assert run(get(PRIVATE, tcp)).endswith(b"hello")
        (record,) = made.records(Onramp="wireguard", Protocol="TCP")
        assert (record["SourceInternalIP"], record["DeviceName"], record["Allowed"]) == (DEVICE, "phone", True)
        assert (record["SourceIP"], record["OriginIP"], record["RuleID"]) == ("10.99.1.2", PRIVATE, "2")
        assert record["BytesReceived"] > 0

        (answer,) = run(lookup("db.internal")).answer[0]
        assert run(get(str(answer), tcp)).endswith(b"hello")
        assert len(made.records(ResolvedFQDN="db.internal")) == 1
        assert run(lookup("DB.internal", "AAAA")).answer == []
        assert run(lookup("example.com")).rcode() == dns.rcode.REFUSED

        assert run(ask(PRIVATE, udp, b"ping")) == b"ping"
        assert run(get(PRIVATE, 22)) == b""
        assert made.records(OriginPort=22)[0]["RuleID"] == "1"
        assert run(get("172.64.128.200", tcp)) == b""
        assert len(made.records(Reason="no_such_name")) == 1
        assert run(ask(PRIVATE, udp, b"ping", source=SPOOFED)) == b""
        assert run(ask(DNS_ADDRESS, 53, dns.message.make_query("db.internal", "A").to_wire(), source=SPOOFED)) == b""
        assert len(made.records(Reason="spoofed_source", Allowed=False)) >= 2

        async def hold() -> bytes:
            reader, writer = await asyncio.open_connection(PRIVATE, tcp)
            writer.write(b"held")
            assert await reader.readexactly(4) == b"held"
            told = asyncio.get_running_loop().run_in_executor(None, made.tell, "drop")
            async with asyncio.timeout(20):
                rest = await reader.read()
            await told
            writer.close()
            return rest

        assert run(hold()) == b""
        assert len(made.records(Detail="the device was revoked")) >= 1
        assert made.tell("records")["ports"] == 0
        assert made.tell("add")["records"]
