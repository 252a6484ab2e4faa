"""Where the virtual DNS service leads: this machine's own resolver, or those that a setting names.

The edge asks for `[2606:4700:cf1:2000::1]:53`, over UDP or TCP, and gets what this machine itself would ask.
"""

from __future__ import annotations

import functools
import ipaddress
import random
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from pyconnector.web.host_port import split_ip_port

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HostPort: TypeAlias = tuple[str, int]

#: The service itself.
VIRTUAL_DNS: Final[HostPort] = ("2606:4700:cf1:2000::1", 53)
#: Seconds after which the system's resolver is looked up again.
REFRESH_SECONDS: Final = 300.0
#: Where the system's resolver is, as long as nothing says otherwise.
FALLBACK: Final[HostPort] = ("127.0.0.1", 53)
#: Addresses that a setting may name.
MAX_ADDRESSES: Final = 10
_RESOLV_CONF: Final = Path("/etc/resolv.conf")
#: Bytes of that file that are read.
_MAX_FILE: Final = 64 * 1024


class VirtualDns:
    """Knows where to send DNS of the private network."""

    def __init__(
        self,
        addresses: Sequence[HostPort] = (),
        *,
        time: Callable[[], float],
        system: Callable[[], HostPort | None] | None = None,
        choose: Callable[[Sequence[HostPort]], HostPort] = random.choice,
        counted: Counter[str] | None = None,
    ) -> None:
        """`addresses` take the place of the system's resolver, one at random each time; `counted` counts
        flows to the service by protocol."""
        self._addresses = tuple(addresses)
        self._time = time
        self._system = system or functools.partial(system_resolver, _RESOLV_CONF)
        self._choose = choose
        self._known = FALLBACK
        self._until = float("-inf")
        self._counted: Counter[str] = Counter() if counted is None else counted

    def __repr__(self) -> str:
        return f"<VirtualDns {self._addresses or self._known}>"

    def lead(self, host: str, port: int, protocol: str) -> HostPort:
        """Return where a flow to a literal address goes: a resolver if it is to the virtual service, else there."""
        if port != VIRTUAL_DNS[1] or not is_virtual(host):
            return host, port
        self._counted[protocol] += 1
        if self._addresses:
            return self._choose(self._addresses)
        if self._time() >= self._until:
            self._known = self._system() or self._known
            self._until = self._time() + REFRESH_SECONDS
        return self._known


@functools.lru_cache(maxsize=256)
def is_virtual(host: str) -> bool:
    """Return whether a literal address is that of the virtual service, however it is written."""
    try:
        return ipaddress.ip_address(host) == ipaddress.ip_address(VIRTUAL_DNS[0])
    except ValueError:
        return False


def system_resolver(path: Path) -> HostPort | None:
    """Return the first name server of a resolv.conf; None where it names none or cannot be read."""
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_FILE).decode("utf-8", "replace")
    except OSError:
        return None
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            try:
                address = ipaddress.ip_address(words[1])
            except ValueError:
                continue
            if "%" not in words[1]:  # of one interface: nothing here says of which
                return str(address), 53
    return None


def parse_address(text: str) -> HostPort:
    """Read `IP:PORT` or `[IPv6]:PORT` of a resolver.

    Raises:
        ValueError: it is something else, in words.
    """
    try:
        return split_ip_port(text)
    except ValueError:
        raise ValueError(f'"{text}" is no resolver: give an IP address and a port, such as 10.0.0.53:53') from None
