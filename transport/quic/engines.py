"""Which QUIC engine is used, and the two calls that both offer.

`transport.quic.aioquic_engine.engine` and `transport.quic.qh3_engine.engine` each have a `connect` and a `listen` with
these signatures. They are imported when first used, because a user of one engine need not have the other.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Protocol, cast

from pyconnector.transport.errors import ConnectFailed
from pyconnector.transport.settings import ClientTls, QuicSettings, ServerTls

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.transport.seam import Address, Connection, Listener

ENGINES = ("aioquic", "qh3")


class Engine(Protocol):
    """What the module of an engine offers."""

    async def connect(
        self, address: Address, *, tls: ClientTls, settings: QuicSettings, local_host: str | None, local_port: int
    ) -> Connection:
        """See `connect` below."""

    async def listen(
        self,
        host: str,
        port: int,
        *,
        tls: ServerTls,
        settings: QuicSettings,
        on_connection: Callable[[Connection], None],
    ) -> Listener:
        """See `listen` below."""


def engine_name(wanted: str) -> str:
    """Return the engine that `wanted` (auto, aioquic or qh3) stands for on this machine.

    Raises:
        ConnectFailed: there is no such engine, or it is not installed.
    """
    if wanted == "auto":
        return "qh3" if _is_installed("qh3") else "aioquic"
    if wanted not in ENGINES:
        raise ConnectFailed(f"unknown QUIC engine {wanted!r}: choose auto, aioquic or qh3")
    if not _is_installed(wanted):
        raise ConnectFailed(f"the QUIC engine {wanted} is not installed")
    return wanted


def load_engine(wanted: str) -> Engine:
    """Return the engine that `wanted` stands for, imported: the first time that takes some 50 to 100 ms.

    Raises:
        ConnectFailed: there is no such engine, or it is not installed.
    """
    return cast("Engine", importlib.import_module(f"pyconnector.transport.quic.{engine_name(wanted)}_engine.engine"))


async def connect(
    address: Address,
    *,
    tls: ClientTls,
    settings: QuicSettings | None = None,
    local_host: str | None = None,
    local_port: int = 0,
) -> Connection:
    """Connect to `address` from `local_host` and `local_port` (None and 0: let the system choose).

    The connection's `local_address` tells the bound port. Cancel leaves neither a socket nor a task behind.

    Raises:
        ConnectFailed: unreachable, timed out, TLS refused, or the local address could not be bound.
    """
    settings = settings or QuicSettings()
    engine = load_engine(settings.engine)
    return await engine.connect(address, tls=tls, settings=settings, local_host=local_host, local_port=local_port)


async def listen(
    host: str,
    port: int,
    *,
    tls: ServerTls,
    settings: QuicSettings | None = None,
    on_connection: Callable[[Connection], None],
) -> Listener:
    """Accept connections on `host` and `port` (0 for any). `on_connection` is called once a handshake completed.

    Cancel leaves no socket behind.

    Raises:
        ConnectFailed: the address could not be bound, or certificate and key do not fit.
    """
    settings = settings or QuicSettings()
    engine = load_engine(settings.engine)
    return await engine.listen(host, port, tls=tls, settings=settings, on_connection=on_connection)


def _is_installed(name: str) -> bool:
    return (
        importlib.util.find_spec(name) is not None
        and importlib.util.find_spec(f"pyconnector.transport.quic.{name}_engine.engine") is not None
    )
