"""One unprivileged ICMP socket ("ping socket") that sends echo requests to one address and hears its replies.

On Linux the system chooses the identifier and hands a socket nothing but replies to its own; on macOS the identifier is
ours, and replies to others come too, with their IP header.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

Address: TypeAlias = IPv4Address | IPv6Address
#: Replies that are read in one turn of the loop.
READS_PER_TURN: Final = 16
_BUFFER: Final = 1_500
_PING_GROUPS: Final = Path("/proc/sys/net/ipv4/ping_group_range")
_HEAD = Struct(">BBHHH")
_LINUX = sys.platform == "linux"
_REQUEST = {4: 8, 6: 128}
_REPLY = {4: 0, 6: 129}


class EchoRefused(Exception):
    """No ICMP socket can be had. The text is one sentence that says what to do where that is known."""


class EchoSocket:
    """A socket from `open` to `close`; `on_reply` is given sequence and data of each reply."""

    __slots__ = ("_closed", "_identifier", "_loop", "_on_reply", "_socket", "_version")

    def __init__(self, sock: socket.socket, version: int, on_reply: Callable[[int, bytes], None]) -> None:
        self._socket = sock
        self._version = version
        self._on_reply = on_reply
        self._loop = asyncio.get_running_loop()
        self._identifier = int.from_bytes(os.urandom(2), "big")
        self._closed = False

    def __repr__(self) -> str:
        return f"<EchoSocket IPv{self._version} closed={self._closed}>"

    @classmethod
    def open(
        cls, destination: Address, on_reply: Callable[[int, bytes], None], *, source: Address | None = None
    ) -> EchoSocket:
        """Make a socket towards `destination`, bound to `source` where one is given.

        Raises:
            EchoRefused: the system allows none, or there is no way there.
        """
        sock = None
        try:
            sock = _make(destination.version)
            if source is not None and source.version == destination.version:
                sock.bind((str(source), 0))
            sock.connect((str(destination), 0))
            echo = cls(sock, destination.version, on_reply)
            echo._loop.add_reader(sock, echo._on_readable)
        except (OSError, NotImplementedError) as error:
            if sock is not None:
                sock.close()
            raise EchoRefused(f"ICMP to {destination} is not possible: {_cause(error)}") from error
        return echo

    def send(self, sequence: int, data: bytes) -> bool:
        """Send an echo request; False where the system did not take it."""
        message = _HEAD.pack(_REQUEST[self._version], 0, 0, self._identifier, sequence) + data
        if not _LINUX and self._version == 4:
            message = message[:2] + _checksum(message).to_bytes(2, "big") + message[4:]
        try:
            self._socket.send(message)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Close the socket. Idempotent."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._socket)
            self._socket.close()

    def _on_readable(self) -> None:
        for _ in range(READS_PER_TURN):
            try:
                message = self._socket.recv(_BUFFER)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                continue  # "unreachable" and the like: who asked hears nothing, as from a silent host
            if not _LINUX and self._version == 4 and message:
                message = message[(message[0] & 0x0F) * 4 :]
            if len(message) < _HEAD.size:
                continue
            kind, _, _, identifier, sequence = _HEAD.unpack_from(message)
            if kind != _REPLY[self._version] or (not _LINUX and identifier != self._identifier):
                continue
            self._on_reply(sequence, message[_HEAD.size :])
            if self._closed:
                return


def try_families(sources: tuple[Address | None, Address | None]) -> tuple[bool, bool, str]:
    """Return whether IPv4 and IPv6 sockets can be had, bound to `sources`, and one sentence on why IPv4 ones cannot."""
    usable, why = [], ""
    for version, source in zip((4, 6), sources, strict=True):
        try:
            with _make(version) as sock:
                if source is not None:
                    sock.bind((str(source), 0))
            usable.append(True)
        except (OSError, NotImplementedError) as error:
            usable.append(False)
            if version == 4:
                why = _why_not(error)
    return usable[0], usable[1], why


def own_address(version: int) -> Address:
    """Return the address that this machine would reach private hosts from, or the unspecified one. Sends nothing."""
    family, towards = (socket.AF_INET, "192.168.0.1") if version == 4 else (socket.AF_INET6, "2606:4700:cf1:2000::1")
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((towards, 53))
            text = str(sock.getsockname()[0]).partition("%")[0]
    except OSError:
        text = "0.0.0.0" if version == 4 else "::"
    return IPv4Address(text) if version == 4 else IPv6Address(text)


def _make(version: int) -> socket.socket:
    family, protocol = (
        (socket.AF_INET, socket.IPPROTO_ICMP) if version == 4 else (socket.AF_INET6, socket.IPPROTO_ICMPV6)
    )
    sock = socket.socket(family, socket.SOCK_DGRAM, protocol)
    sock.setblocking(False)
    return sock


def _why_not(error: Exception) -> str:
    if isinstance(error, PermissionError) and _PING_GROUPS.exists():
        groups = " ".join(_PING_GROUPS.read_text().split())
        return (
            f"the group of this process ({os.getegid()}) is not within net.ipv4.ping_group_range ({groups}): "
            f'allow it with `sysctl -w net.ipv4.ping_group_range="{os.getegid()} {os.getegid()}"`'
        )
    return _cause(error)


def _cause(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return "this event loop cannot watch sockets"


def _checksum(message: bytes) -> int:
    """Return the Internet checksum (RFC 1071), which Linux computes by itself."""
    padded = message + b"\x00" * (len(message) % 2)
    total = sum(int.from_bytes(padded[at : at + 2], "big") for at in range(0, len(padded), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
