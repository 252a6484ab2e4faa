"""Two network namespaces joined by two cables, made and removed by the test: a site with two uplinks, and its far end.

    site  up0 10.77.1.2/24 ---- 10.77.1.1  far, which answers at 10.77.9.1
          up1 10.77.2.2/24 ---- 10.77.2.1

The default route of the site goes through up0. Linux only, with the right to make namespaces and `ip` (iproute2);
`why_not` says what is missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

FAR_ADDRESS = "10.77.9.1"
_CLONE_NEWNET = 0x40000000


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=20)


@functools.cache
def why_not() -> str:
    """Why no namespaces can be made here; empty where they can."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    if shutil.which("ip") is None:
        return "there is no `ip`: scripts/ensure-iproute2 installs it"
    name = f"pyc-try-{os.getpid()}"
    try:
        _ip("netns", "add", name)
        try:
            _ip("-n", name, "link", "set", "lo", "up")
        finally:
            _ip("netns", "del", name)
    except (OSError, subprocess.SubprocessError):
        return "this process may not make network namespaces (root, or CAP_SYS_ADMIN and CAP_NET_ADMIN)"
    return ""


def run_ip(*arguments: str) -> None:
    """Run `ip` with these arguments.

    Raises:
        subprocess.SubprocessError: it failed.
    """
    _ip(*arguments)


def enter(name: str) -> None:
    """Have this thread open its sockets in the namespace of that name from now on."""
    with open(f"/run/netns/{name}") as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")


def allow_pings(groups: str = "0 2147483647") -> None:
    """Let processes of these groups ping, in the namespace of this thread."""
    with open("/proc/sys/net/ipv4/ping_group_range", "w") as file:
        file.write(groups)


class Network:
    """The two namespaces. Methods change what the site sees of its network."""

    def __init__(self) -> None:
        self.site, self.far = f"pyc-site-{os.getpid()}", f"pyc-far-{os.getpid()}"

    def make(self) -> None:
        """Make both, with their cables and addresses."""
        for name in (self.site, self.far):
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        for number in (0, 1):
            peer = f"down{number}"
            _ip("-n", self.site, "link", "add", f"up{number}", "type", "veth", "peer", "name", peer, "netns", self.far)
            for name, device, last in ((self.site, f"up{number}", 2), (self.far, peer, 1)):
                _ip("-n", name, "address", "add", f"10.77.{number + 1}.{last}/24", "dev", device)
                _ip("-n", name, "link", "set", device, "up")
        _ip("-n", self.far, "address", "add", f"{FAR_ADDRESS}/32", "dev", "lo")
        self.route(0)

    def remove(self) -> None:
        """Remove both. Idempotent."""
        for name in (self.site, self.far):
            with contextlib.suppress(subprocess.SubprocessError):
                _ip("netns", "del", name)

    def route(self, uplink: int) -> None:
        """Send everything through this uplink."""
        _ip("-n", self.site, "route", "replace", "default", "via", f"10.77.{uplink + 1}.1")

    def unroute(self) -> None:
        """Leave the site without a way out."""
        _ip("-n", self.site, "route", "del", "default")

    def prohibit(self, address: str) -> None:
        """Have the site refuse to send to `address`."""
        _ip("-n", self.site, "route", "add", "prohibit", address)

    def permit(self, address: str) -> None:
        """Undo `prohibit`."""
        _ip("-n", self.site, "route", "del", "prohibit", address)

    def silence(self, on: bool) -> None:
        """Have the far end's answers vanish, or no more."""
        for number in (1, 2):
            _ip("-n", self.far, "route", "add" if on else "del", "blackhole", f"10.77.{number}.0/25")

    def link(self, uplink: int, state: str) -> None:
        """Set an uplink `up` or `down`. Going down it takes its routes with it."""
        _ip("-n", self.site, "link", "set", f"up{uplink}", state)

    def readdress(self, uplink: int, old: str, new: str) -> None:
        """Replace an address of the site by another, as a lease that runs out does."""
        _ip("-n", self.site, "address", "del", f"{old}/24", "dev", f"up{uplink}")
        _ip("-n", self.site, "address", "add", f"{new}/24", "dev", f"up{uplink}")
        self.route(uplink)

    def shrink(self, mtu: int, *, silently: bool) -> None:
        """Let up0 carry no IP packets above `mtu`: the site's system knows, or they vanish on the way."""
        if silently:
            _ip("-n", self.site, "link", "set", "up0", "gso_max_segs", "1")  # trains would pass
            _ip("-n", self.far, "link", "set", "down0", "mtu", str(mtu))
        else:
            _ip("-n", self.site, "link", "set", "up0", "mtu", str(mtu))

    @staticmethod
    def without_ipv6() -> None:
        """Leave the namespace of this thread without IPv6."""
        with contextlib.suppress(FileNotFoundError), open("/proc/sys/net/ipv6/conf/all/disable_ipv6", "w") as file:
            file.write("1")

    def enter(self, name: str) -> None:
        """Have this thread open its sockets in a namespace from now on."""
        enter(name)


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """A fresh network, removed at the end."""
    made = Network()
    try:
        made.make()
        yield made
    finally:
        made.remove()


def run_apart(scenario: Callable[[], Coroutine[Any, Any, None]], factory: Callable[[], Any] | None = None) -> None:
    """Run `scenario` in a loop and thread of its own, whose namespace it may change. Raises what it raises."""
    failure: list[BaseException] = []

    def main() -> None:
        try:
            with asyncio.Runner(loop_factory=factory) as runner:
                runner.run(scenario())
        except BaseException as exc:  # noqa: BLE001 - raised again in the caller's thread
            failure.append(exc)

    thread = threading.Thread(target=main, name="network")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]


def run_in_own_network(scenario: Callable[[], Coroutine[Any, Any, None]], *, ping_groups: str = "0 2147483647") -> None:
    """Run `scenario` in a namespace of its own that has nothing but loopback, where these groups may ping."""

    async def main() -> None:
        if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare")
        _ip("link", "set", "lo", "up")
        allow_pings(ping_groups)
        await scenario()

    run_apart(main)
