"""Where an edge itself can be reached: what it binds, and every address of this machine where that is all of them."""

from __future__ import annotations

import array
import struct
import sys
from ipaddress import IPv4Address, IPv6Address, ip_address
from socket import AF_INET, AF_INET6, SOCK_DGRAM, socket
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pyconnector.edge.settings import HostPort

Address: TypeAlias = IPv4Address | IPv6Address
#: Bytes that Linux may fill with IPv4 addresses: some 1,600 of them; and lines with IPv6 addresses that are read.
MAX_LIST: Final = 65_536
MAX_LINES: Final = 10_000
#: netdevice(7): a name of 16 bytes, then a socket address in what is left of 40 (of 32 where pointers are short).
_SIOCGIFCONF: Final = 0x8912
_ENTRY: Final = 40 if sys.maxsize > 2**32 else 32


def own_addresses(bound: Iterable[HostPort]) -> tuple[Address, ...]:
    """Return the addresses of an edge that listens at `bound`. Names among those are passed over."""
    found: dict[Address, None] = {}
    for host, _ in bound:
        try:
            address = ip_address(host)
        except ValueError:
            continue
        if address.is_unspecified:
            found.update(dict.fromkeys(_of_this_machine()))
        else:
            found[address] = None
    return tuple(found)


def _of_this_machine() -> Iterator[Address]:
    yield from seen_from_outside()
    if sys.platform == "linux":
        yield from _all_ipv4()
        yield from _all_ipv6()


def seen_from_outside() -> Iterator[Address]:
    """Yield the addresses that others see this machine as, where it has a way out."""
    for family, towards in ((AF_INET, "192.0.2.1"), (AF_INET6, "2001:db8::1")):
        try:
            with socket(family, SOCK_DGRAM) as sock:
                sock.connect((towards, 9))  # sends nothing
                yield ip_address(str(sock.getsockname()[0]).partition("%")[0])
        except OSError:
            continue


def _all_ipv4() -> Iterator[Address]:
    import fcntl

    room = array.array("B", bytes(MAX_LIST))
    wanted = struct.pack("iP", MAX_LIST, room.buffer_info()[0])
    try:
        with socket(AF_INET, SOCK_DGRAM) as sock:
            size = struct.unpack("iP", fcntl.ioctl(sock.fileno(), _SIOCGIFCONF, wanted))[0]
    except OSError:
        return
    for at in range(0, size, _ENTRY):
        yield IPv4Address(room[at + 20 : at + 24].tobytes())


def _all_ipv6() -> Iterator[Address]:
    try:
        with open("/proc/net/if_inet6", encoding="ascii") as file:
            for _, line in zip(range(MAX_LINES), file, strict=False):
                yield IPv6Address(int(line.split()[0], 16))
    except OSError:
        return
