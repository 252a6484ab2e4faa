"""The ports of all devices that come over WireGuard: opened and closed as devices and their tokens come and go."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from pyconnector.edge.private.wireguard.library import check_installed
from pyconnector.edge.private.wireguard.port import DevicePort
from pyconnector.edge.settings import host_port_text

if TYPE_CHECKING:
    from pyconnector.edge.access.devices import DeviceEntry
    from pyconnector.edge.private.gateway.server import Gateway

#: Seconds between looks without a change: a token comes to its end, a port that was taken is free.
LOOK_INTERVAL: Final = 1.0
#: Ports at once.
MAX_PORTS: Final = 1_000

_log = logging.getLogger("pyconnector.edge")


class DevicePorts:
    """From `start` to `close`."""

    def __init__(self, gateway: Gateway, host: str) -> None:
        """`host` is an IP address of this machine, or of all its addresses.

        Raises:
            SettingsError: the library is not installed.
        """
        check_installed()
        self._gateway = gateway
        self._host = host
        self._ports: dict[str, DevicePort] = {}
        self._failed: dict[str, str] = {}
        self._changed = asyncio.Event()
        self._closed = False

    def __repr__(self) -> str:
        return f"<DevicePorts at {self._host}: {len(self._ports)} open, {len(self._failed)} taken>"

    def __len__(self) -> int:
        return len(self._ports)

    async def start(self) -> None:
        """Open the ports of the devices that are known, and follow. Cancel leaves some open: call `close`."""
        self._gateway.judge.gate.listeners.append(self._changed.set)
        await self._adjust()
        self._gateway.tasks.start(self._follow(), "edge wireguard ports")

    async def close(self) -> None:
        """Close every port. Idempotent. Cancel leaves some closing."""
        self._closed = True
        listeners = self._gateway.judge.gate.listeners
        if self._changed.set in listeners:
            listeners.remove(self._changed.set)
        ports, self._ports = tuple(self._ports.values()), {}
        await asyncio.gather(*(port.close() for port in ports))

    async def _follow(self) -> None:
        while not self._closed:
            try:
                async with asyncio.timeout(LOOK_INTERVAL):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()
            await self._adjust()

    async def _adjust(self) -> None:
        wanted = {device.id: device for device in self._wanted()}
        over = [key for key, port in self._ports.items() if port.overrun or not _is_same(port, wanted.get(key))]
        for key in over:
            if self._ports[key].overrun:
                _log.warning("Opening the port of device %s anew: it began too many connections", key)
        await asyncio.gather(*(self._ports.pop(key).close() for key in over))
        self._failed = {key: why for key, why in self._failed.items() if key in wanted}
        for key, device in wanted.items():
            if key in self._ports:
                self._ports[key].device = device
            elif not self._closed:
                await self._open(device)

    async def _open(self, device: DeviceEntry) -> None:
        port = DevicePort(self._gateway, device, self._changed.set)
        self._ports[device.id] = port
        try:
            address = await port.open(self._host)
        except OSError as error:
            del self._ports[device.id]
            if self._failed.get(device.id) != str(error):
                self._failed[device.id] = str(error)
                assert device.wireguard is not None
                where = host_port_text((self._host, device.wireguard.port))
                _log.error("The port of device %s, %s, cannot be opened: %s", device.name, where, error)
            return
        if self._closed:  # meanwhile, and what it closed was not open yet
            await port.close()
            return
        self._failed.pop(device.id, None)
        _log.info("Device %s may come over WireGuard at %s", device.name, host_port_text(address))

    def _wanted(self) -> list[DeviceEntry]:
        gate = self._gateway.judge.gate
        found = []
        for device in gate.state.devices.by_wireguard()[:MAX_PORTS]:
            token = gate.state.token(device.token_id)
            if device.enabled and token is not None and token.lives(gate.clock()):
                found.append(device)
        return found


def _is_same(port: DevicePort, device: DeviceEntry | None) -> bool:
    return device is not None and (port.device.address, port.device.token_id, port.device.wireguard) == (
        device.address, device.token_id, device.wireguard,
    )  # fmt: skip
