"""An interface into the private network, for as long as it is wanted: made once, connected again whenever the gateway
is lost."""

from __future__ import annotations

import asyncio
import logging
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

from pyconnector.agent.errors import MeshError
from pyconnector.agent.interface.carry import Carrying
from pyconnector.agent.interface.device import Tun, TunError
from pyconnector.agent.interface.routes import routes_of
from pyconnector.agent.interface.system import InterfaceSettings, Wanted
from pyconnector.protocol.connect_ip import RESOLVER
from pyconnector.protocol.errors import ProtocolError

if TYPE_CHECKING:
    from pyconnector.agent.client import Mesh
    from pyconnector.agent.split import Includes

#: Bytes of its packets (mesh.md 1).
MTU: Final = 1_280
#: Seconds until the gateway is tried again: at first, and at most.
FIRST_DELAY, MAX_DELAY = 1.0, 30.0

_log = logging.getLogger("pyconnector.agent")


class Interface:
    """Serves between `start` and `close`."""

    def __init__(self, mesh: Mesh, includes: Includes, name: str = "pyc%d") -> None:
        """Make it, without addresses.

        Raises:
            TunError: it cannot be made here.
        """
        self._mesh = mesh
        self._includes = includes
        self._tun = Tun(name)
        try:
            self._settings = InterfaceSettings(self._tun.name)
        except TunError:
            self._tun.close()
            raise
        self._task: asyncio.Task[None] | None = None
        self._carrying: Carrying | None = None
        self._ready = asyncio.Event()
        self._names_told = False
        self.last_error = ""

    def __repr__(self) -> str:
        return f"<Interface {self._tun.name} {self._carrying!r}>"

    @property
    def name(self) -> str:
        """That of the interface."""
        return self._tun.name

    async def start(self) -> None:
        """Have it up, and connect it in the background. Cancel, or a failure, leaves it there: call `close`.

        Raises:
            TunError: the system refuses something.
        """
        await self._settings.start(MTU)
        self._task = asyncio.create_task(self._keep(), name="mesh interface")

    async def wait_ready(self) -> None:
        """Wait until it has addresses and routes. Cancel at any time."""
        await self._ready.wait()

    def status(self) -> dict[str, Any]:
        """Return how it is, for people."""
        carrying = self._carrying
        return {
            "interface": self.name, "interface_error": self.last_error,
            "interface_addresses": [] if carrying is None else [str(each.address) for each in carrying.addresses],
            "packets_sent": 0 if carrying is None else carrying.sent,
            "packets_received": 0 if carrying is None else carrying.received,
        }  # fmt: skip

    async def close(self) -> None:
        """Remove it, and all that the system was told about it. Idempotent. Cancel leaves its task ending."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        self._tun.close()

    async def _keep(self) -> None:
        delay = FIRST_DELAY
        while True:
            begun = asyncio.get_running_loop().time()
            try:
                await self._connect()
                self.last_error = "the gateway ended the tunnel"
            except (MeshError, ProtocolError, TunError, OSError) as error:
                self.last_error = str(error)
            self._carrying = None
            if asyncio.get_running_loop().time() - begun > MAX_DELAY:
                delay = FIRST_DELAY
            _log.warning("%s is not connected, which is tried again in %g s: %s", self.name, delay, self.last_error)
            await asyncio.sleep(delay)
            delay = min(delay * 2, MAX_DELAY)

    async def _connect(self) -> None:
        end = await self._mesh.open_ip()
        try:
            self._carrying = Carrying(self._tun, end, self._told)
            await self._carrying.run()
        finally:
            end.abort()

    async def _told(self, carrying: Carrying) -> None:
        addresses = tuple(each.address for each in carrying.addresses if int(each.address))
        if not addresses or not carrying.ranges:
            return  # the other half follows; what was so far stays, for connections that are open
        gateway = await self._gateway_addresses()
        names = bool(self._includes.names)
        routes, around = routes_of(carrying.ranges, self._includes.networks, names=names, gateway=gateway)
        for network in around:
            _log.warning("%s leads to the gateway itself, so it gets no route: include what is smaller", network)
        await self._settings.change(Wanted(addresses, routes))
        if not self._names_told:
            self._names_told = True
            await self._tell_names()
        self.last_error = ""
        if not self._ready.is_set():
            self._ready.set()
            _log.info("%s has %s, and %d routes", self.name, " and ".join(map(str, addresses)), len(routes))

    async def _tell_names(self) -> None:
        why = await self._settings.answer_names(RESOLVER, self._includes.names)
        if why:
            _log.warning(
                "private names are not looked up by themselves (%s): %s answers them, for a resolver that asks it",
                why, RESOLVER,
            )  # fmt: skip

    async def _gateway_addresses(self) -> list[Any]:
        found = await asyncio.get_running_loop().getaddrinfo(self._mesh.host, self._mesh.port)
        return [ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
