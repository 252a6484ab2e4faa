"""How a connection index reaches its edge address: transport settings, and the local port it keeps (wire.md 2)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from pyconnector.connector.discovery.address_book import is_ipv6
from pyconnector.transport import quic
from pyconnector.transport.errors import ConnectFailed
from pyconnector.transport.settings import ClientTls

if TYPE_CHECKING:
    from pyconnector.connector.config.model import EdgeConfig
    from pyconnector.connector.link.edge_connection import Plan
    from pyconnector.connector.link.engine_choice import EngineChoice
    from pyconnector.connector.link.paths.network_watch import NetworkWatch
    from pyconnector.transport.seam import Connection

#: Size of the first packets: the reference's figures, smaller for IPv4 indeed.
INITIAL_PACKET_SIZE = {4: 1232, 6: 1252}


@contextlib.contextmanager
def naming_cacert(edge: EdgeConfig) -> Iterator[None]:
    """Say in the ConnectFailed of an edge that is not trusted how to name its authority, where none was named."""
    try:
        yield
    except ConnectFailed as error:
        if not error.untrusted or edge.ca_file is not None:
            raise
        hint = "--cacert names the authority of an edge that is not Cloudflare's"
        raise ConnectFailed(f"{error.reason}; {hint}", untrusted=True) from error


def quic_dialer(
    edge: EdgeConfig, choice: EngineChoice, network: NetworkWatch
) -> Callable[[Plan], Awaitable[Connection]]:
    """Return what dials one attempt over QUIC, and begins anew where the network changes meanwhile.

    It raises ConnectFailed; cancel leaves nothing open.
    """
    tls = ClientTls(ca_file=edge.ca_file, post_quantum_only=edge.post_quantum)

    async def dial(plan: Plan) -> Connection:
        with naming_cacert(edge):
            return await until_quiet(lambda: dial_once(plan), network)

    async def dial_once(plan: Plan) -> Connection:
        six = is_ipv6(plan.address)
        settings = replace(choice.settings, initial_packet_size=INITIAL_PACKET_SIZE[6 if six else 4])
        port = plan.local_port if can_bind(edge.bind_address, plan.local_port, ipv6=six) else 0
        return await quic.connect(
            plan.address, tls=tls, settings=settings, local_host=edge.bind_address, local_port=port
        )

    return dial


async def until_quiet(dial: Callable[[], Awaitable[Connection]], network: NetworkWatch) -> Connection:
    """Dial; where the network changes before that succeeds, dial anew, for the way that was taken may be gone.

    Raises what `dial` does. Cancel leaves nothing open.
    """
    while True:
        changed = asyncio.Event()
        with network.subscribe(changed.set):
            dialling = asyncio.ensure_future(dial())
            waiting = asyncio.ensure_future(changed.wait())
            try:
                await asyncio.wait((dialling, waiting), return_when=asyncio.FIRST_COMPLETED)
                if dialling.done():
                    return dialling.result()
            finally:
                waiting.cancel()
                dialling.cancel()
                await asyncio.gather(dialling, waiting, return_exceptions=True)
            if not dialling.cancelled() and dialling.exception() is None:
                return dialling.result()  # it succeeded in the same turn


def can_bind(host: str | None, port: int, *, ipv6: bool) -> bool:
    """Whether a UDP socket could be bound to the port that an index had before. It may be someone else's by now."""
    if not port:
        return False
    with socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host or ("::" if ipv6 else "0.0.0.0"), port))
        except OSError:
            return False
    return True
