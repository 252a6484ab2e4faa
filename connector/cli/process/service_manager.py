"""What systemd is told (`sd_notify(3)`): ready, reloading, what goes on, still alive, stopping.

Each message is one datagram that is sent without waiting: a manager that does not read cannot hold anything up.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping

from pyconnector.connector.observe.log import Log, escape

#: Longest status line.
MAX_STATUS_CHARS = 200

_log = Log("service")


class ServiceManager:
    """Tells the service manager that started this process, if one did and wants to know."""

    def __init__(
        self,
        environ: Mapping[str, str] = os.environ,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._watchdog = _watchdog_seconds(environ)
        self._clock = clock
        self._failed = False
        self._status = ""

    def ready(self) -> None:
        """The first connection is registered."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """Say in one line what goes on, as `systemctl status` shows it."""
        text = escape(text)[:MAX_STATUS_CHARS]
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def reloading(self) -> None:
        """The configuration is being read again; `ready` follows."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={int(self._clock() * 1_000_000)}")

    def stopping(self) -> None:
        """Requests under way are let end."""
        self._send("STOPPING=1")

    async def watch(self) -> None:
        """Say that the event loop turns, twice in each period of the watchdog, for ever. Cancel at any time."""
        if self._watchdog is None:
            await asyncio.get_running_loop().create_future()
        while True:
            self._send("WATCHDOG=1")
            await asyncio.sleep((self._watchdog or 0) / 2)

    def _send(self, message: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto(message.encode("utf-8", "replace"), address)
        except OSError as error:
            if not self._failed:  # once: it is told twice a minute and more
                _log.error("Cannot tell the service manager: %s", error)
            self._failed = True


def _watchdog_seconds(environ: Mapping[str, str]) -> float | None:
    """The period in which this very process has to give a sign of life."""
    with contextlib.suppress(ValueError):
        if environ.get("WATCHDOG_PID") in (None, "", str(os.getpid())):
            microseconds = int(environ.get("WATCHDOG_USEC", ""))
            return microseconds / 1_000_000 if microseconds > 0 else None
    return None
