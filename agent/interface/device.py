"""A TUN device of Linux (tun(4)): whole IP packets, read and written as a file."""

from __future__ import annotations

import errno
import os
import struct
import sys
from typing import Final

DEVICE: Final = "/dev/net/tun"
#: Longest name of an interface.
MAX_NAME: Final = 15
#: if_tun.h: make this file an interface; packets of IP, without a header before them.
_TUNSETIFF: Final = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_WHY: Final = {
    errno.EPERM: "this needs root, or the capability CAP_NET_ADMIN",
    errno.EACCES: "this needs root, or the capability CAP_NET_ADMIN",
    errno.EBUSY: "an interface of that name is in use",
    errno.ENOENT: f"this system has no {DEVICE}: its kernel lacks the tun module",
    errno.ENODEV: f"this system has no {DEVICE}: its kernel lacks the tun module",
}


class TunError(Exception):
    """There is no such interface, and why. The text is one sentence without a full stop."""


class Tun:
    """An interface that is there until `close`. Nonblocking."""

    def __init__(self, name: str) -> None:
        """`name` may hold `%d`, for which the kernel puts a number.

        Raises:
            TunError: it cannot be made.
        """
        if sys.platform != "linux":
            raise TunError("an interface is made on Linux only; the local proxy needs none")
        import fcntl

        if not 0 < len(name.encode()) <= MAX_NAME:
            raise TunError(f"{name[:100]!r} is no name of an interface: it has 1 to {MAX_NAME} bytes")
        try:
            self.descriptor = os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise _explained(error) from error
        try:
            asked = struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI)
            answer = fcntl.ioctl(self.descriptor, _TUNSETIFF, asked)
        except OSError as error:
            os.close(self.descriptor)
            raise _explained(error) from error
        self.name = answer[:16].rstrip(b"\0").decode()
        self._open = True

    def __repr__(self) -> str:
        return f"<Tun {self.name}>"

    def read(self) -> bytes | None:
        """Return a packet that the system sends into the interface, None where there is none now.

        Raises:
            OSError: the interface is gone, or down.
        """
        try:
            return os.read(self.descriptor, 65_535)
        except BlockingIOError:
            return None

    def write(self, packet: bytes) -> bool:
        """Let a packet arrive at the interface; False where the system does not take it."""
        try:
            os.write(self.descriptor, packet)
        except OSError:  # malformed, too many of them, or the interface is down
            return False
        return True

    def close(self) -> None:
        """Remove the interface, with its addresses and routes. Idempotent."""
        if self._open:
            self._open = False
            os.close(self.descriptor)


def _explained(error: OSError) -> TunError:
    return TunError(_WHY.get(error.errno or 0, f"{DEVICE}: {error.strerror or error}"))
