"""What a client and its proxy say to each other before the connection is the client's own. Pure.

Each handshake: `start()` gives the first bytes, `receive_data` takes what the proxy answers and gives what to send
next, `done` is True once the way is open. It raises `ProxyRefused`, whose text ends a sentence about the proxy.
"""

from __future__ import annotations

from typing import Protocol

from pyconnector.transport.proxy.address import SOCKS5, Proxy

#: Characters of what a proxy says that are shown.
MAX_SHOWN = 100


class ProxyRefused(Exception):
    """The proxy does not open the way, or speaks something else. The text continues "the proxy X ..."."""


class Handshake(Protocol):
    """One handshake."""

    done: bool

    def start(self) -> bytes:
        """What is said first."""

    def receive_data(self, data: bytes) -> bytes:
        """Take what the proxy said, and return what to say next. Raises ProxyRefused."""


def handshake_for(proxy: Proxy, host: str, port: int) -> Handshake:
    """Return the handshake that has `proxy` connect to `host`, a name or an address."""
    if proxy.kind == SOCKS5:
        from pyconnector.transport.proxy.socks5 import Socks5

        return Socks5(proxy, host, port)
    from pyconnector.transport.proxy.http_connect import HttpConnect

    return HttpConnect(proxy, host, port)


def shown(data: bytes) -> str:
    """The first line of what a proxy said, fit for a log: printable, and not too long."""
    line = data[: 2 * MAX_SHOWN].decode("latin-1").partition("\n")[0].rstrip("\r")
    text = "".join(each if " " <= each <= "~" else "?" for each in line)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
