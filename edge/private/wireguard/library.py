"""The library that speaks WireGuard, with the TCP and UDP within it, as far as it is used here (mesh.md 4.5, 5).

Here alone it is imported. What it does not do shapes its users: it tells no peer, so each device has a port of its own;
it checks no inner source address; it cannot reset a TCP connection; a `read` that was cancelled may never be repeated.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal, Protocol

from pyconnector.edge.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class DeviceStream(Protocol):
    """One TCP connection of a device, or its UDP packets from one port to one place."""

    async def read(self, n: int) -> bytes:
        """Return up to `n` bytes, or one packet; b"" at the end. Cancel, and never read again."""

    def write(self, data: bytes) -> None:
        """Send bytes, or a packet.

        Raises:
            OSError: it is closed.
        """

    async def drain(self) -> None:
        """Wait until there is room again. Raises as `write`."""

    def write_eof(self) -> None:
        """Send no more. Raises as `write`."""

    def close(self) -> None:
        """Close both directions. Raises as `write`."""

    def get_extra_info(self, name: Literal["peername", "sockname", "original_src"]) -> tuple[str, int]:
        """Return an address: `peername`, `sockname` (where to), or `original_src` (of the packets around it)."""


class PortServer(Protocol):
    """One UDP port."""

    def getsockname(self) -> tuple[str, int]:
        """Return where it is."""

    def close(self) -> None:
        """Close it."""

    async def wait_closed(self) -> None:
        """Wait until it is closed."""


def check_installed() -> None:
    """Make sure that the library is there.

    Raises:
        SettingsError: it is not.
    """
    # Before it is loaded: strangers' packets are errors to it, one line each, and whoever likes may send them.
    logging.getLogger("mitmproxy").setLevel(logging.CRITICAL)
    try:
        import mitmproxy_rs.wireguard  # noqa: F401
    except ImportError as error:
        raise SettingsError(
            f"WireGuard needs one more package ({error.name}): pip install 'pyconnector[wireguard]'"
        ) from None


async def open_port(
    address: tuple[str, int],
    private_key: str,
    public_key: str,
    on_tcp: Callable[[DeviceStream], Awaitable[None]],
    on_udp: Callable[[DeviceStream], Awaitable[None]],
) -> PortServer:
    """Listen for one device. The handlers run in this loop. Cancel may leave the port open until it is collected.

    Raises:
        OSError: the port is taken or not ours.
    """
    from mitmproxy_rs.wireguard import start_wireguard_server

    try:
        return await start_wireguard_server(*address, private_key, [public_key], on_tcp, on_udp)
    except RuntimeError as error:
        raise OSError(str(error).partition(" (os error")[0].partition("\n")[0]) from None
