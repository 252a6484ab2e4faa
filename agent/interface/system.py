"""What the system is told about an interface: its addresses, MTU, routes, and who answers for private names.

By `ip` (iproute2) and `resolvectl` (systemd). All of it belongs to the interface and goes with it, also where this
process is killed: nothing is left to clean up.
"""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from pyconnector.agent.interface.device import TunError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

#: Seconds for one command.
TIMEOUT: Final = 10.0
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Wanted:
    """How an interface is to be."""

    addresses: tuple[IPv4Address | IPv6Address, ...] = ()
    routes: tuple[IPv4Network | IPv6Network, ...] = ()


class InterfaceSettings:
    """Those of one interface."""

    def __init__(self, name: str) -> None:
        """Raises `TunError` where the system has no `ip`."""
        self._name = name
        self._now = Wanted()
        if shutil.which("ip") is None:
            raise TunError("an interface needs `ip` (the package iproute2), and this system has none")

    def __repr__(self) -> str:
        return f"<InterfaceSettings {self._name} routes={len(self._now.routes)}>"

    async def start(self, mtu: int) -> None:
        """Set the MTU, and have it up.

        Raises:
            TunError: the system refuses that.
        """
        await self._ip("link", "set", self._name, "mtu", str(mtu), "up")

    async def change(self, wanted: Wanted) -> None:
        """Let addresses and routes be as wanted.

        Raises:
            TunError: the system refuses an address or a route of IPv4. One without IPv6 does without those.
        """
        before, self._now = self._now, wanted
        for address in _missing(wanted.addresses, before.addresses):
            more = ("nodad",) if address.version == 6 else ()
            await self._of(address.version, "address", "replace", f"{address}/{address.max_prefixlen}", *more)
        for route in _missing(wanted.routes, before.routes):
            await self._of(route.version, "route", "replace", str(route))
        for route in _missing(before.routes, wanted.routes):
            await self._of(route.version, "route", "del", str(route))
        for address in _missing(before.addresses, wanted.addresses):
            await self._of(address.version, "address", "del", f"{address}/{address.max_prefixlen}")

    async def answer_names(self, server: IPv4Address, names: Sequence[str]) -> str:
        """Have the system ask `server` for these names (perhaps `*.suffix`). Return why it does not, or ""."""
        if not names:
            return ""
        if shutil.which("resolvectl") is None:
            return "this system has no resolvectl"
        domains = ["~" + name.removeprefix("*.") for name in names]
        try:
            await _run("resolvectl", "dns", self._name, str(server))
            await _run("resolvectl", "domain", self._name, *domains)
        except TunError as error:
            return str(error)
        return ""

    async def _of(self, version: int, kind: str, *arguments: str) -> None:
        try:
            what, value, *more = arguments
            await self._ip(f"-{version}", kind, what, value, "dev", self._name, *more)
        except TunError:
            if version == 4 and what != "del":
                raise

    async def _ip(self, *arguments: str) -> None:
        await _run("ip", *arguments)


async def _run(*command: str) -> None:
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
    except OSError as error:
        raise TunError(f"`{command[0]}` cannot be run: {error.strerror or error}") from error
    try:
        async with asyncio.timeout(TIMEOUT):
            _, said = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        raise TunError(f"`{' '.join(command)}` failed: {said.decode('utf-8', 'replace').strip()[:200]}")


def _missing(wanted: Iterable[_T], present: Iterable[_T]) -> list[_T]:
    there = set(present)
    return [each for each in wanted if each not in there]
