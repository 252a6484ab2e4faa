"""The HTTP/3 connection to one gateway: made when it is wanted, given up where UDP is blocked, and tried again now and
then while it is.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING, Final, cast

from pyconnector.transport import quic
from pyconnector.transport.errors import ConnectFailed, TransportError
from pyconnector.transport.http3 import Http3Connection
from pyconnector.transport.http3.connection import ALPN, UNIDIRECTIONAL
from pyconnector.transport.settings import ClientTls, QuicSettings
from pyconnector.transport.tls.edge_roots import system_roots

if TYPE_CHECKING:
    from pyconnector.transport.buffers.connection import BufferedConnection
    from pyconnector.transport.seam import Address

#: Seconds for the gateway to answer over UDP, all its addresses together.
DIAL_TIMEOUT: Final = 3.0
#: Seconds between attempts while UDP is blocked.
TRY_AGAIN: Final = 60.0
#: Addresses of the gateway that are tried: one of each family.
MAX_ADDRESSES: Final = 2
#: What a gateway may send ahead, of one flow and of all; and when silence is looked into, and given up. The engine that
#: holds no flow up because another one's reader stalls, and that bears losses best.
SETTINGS: Final = QuicSettings(
    engine="aioquic", incoming_streams=0, incoming_unidirectional=UNIDIRECTIONAL, idle_timeout=20.0, keepalive=5.0,
    initial_stream_window=256 * 1024, stream_window=2 * 1024 * 1024, connection_window=16 * 1024 * 1024,
    initial_connection_window=16 * 1024 * 1024,
)  # fmt: skip

_log = logging.getLogger("pyconnector.agent")


class QuicWay:
    """One gateway by QUIC. `current` is called by one task at a time."""

    def __init__(self, host: str, port: int, ca_file: str | None) -> None:
        self.reason = ""
        "Why it cannot be reached so now; empty where it can, or was not tried."
        self._address = (host, port)
        self._ca_file = ca_file
        self._connection: Http3Connection | None = None
        self._trying: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<QuicWay {self._connection!r} {self.reason}>"

    @property
    def is_up(self) -> bool:
        """Whether there is a connection that takes requests."""
        connection = self._connection
        return connection is not None and connection.closed is None and not connection.leaving

    async def current(self) -> Http3Connection | None:
        """Return the connection, made anew where it is gone; None where UDP is blocked. Cancel leaves nothing open."""
        if self.is_up:
            return self._connection
        if self._trying is not None:
            return None
        try:
            self._connection = await self.dial()
        except OSError as error:
            self.reason = str(error)
            _log.warning("no QUIC to the gateway, which is tried again every %g s: %s", TRY_AGAIN, error)
            self._trying = asyncio.create_task(self._try_again(), name="mesh quic attempts")
            return None
        return self._connection

    async def dial(self) -> Http3Connection:
        """Return a new connection. Cancel leaves nothing open.

        Raises:
            OSError: the gateway cannot be reached over UDP, is not trusted, or does not speak HTTP/3.
        """
        host, port = self._address
        reason = f"{host} has no address"
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        by_family = {family: (str(where[0]), int(where[1])) for family, _, _, _, where in reversed(found)}
        addresses = [by_family[family] for family in dict.fromkeys(entry[0] for entry in found)][:MAX_ADDRESSES]
        for address in addresses:
            try:
                async with asyncio.timeout(DIAL_TIMEOUT / len(addresses)):
                    return await self._dial(address)
            except TimeoutError:
                reason = "it does not answer over UDP"
            except ConnectFailed as error:
                reason = error.reason
            except TransportError as error:
                reason = str(error)
        raise ConnectionError(reason)

    async def _dial(self, address: Address) -> Http3Connection:
        tls = ClientTls(server_name=self._address[0], alpn=ALPN, ca_file=self._ca_file or system_roots())
        made = await quic.connect(address, tls=tls, settings=SETTINGS)
        try:
            connection = Http3Connection(cast("BufferedConnection", made), client=True)
            connection.begin()
            await connection.settled()
        except BaseException:
            made.close()
            raise
        return connection

    async def close(self) -> None:
        """Close the connection, and every flow of it. Idempotent. Cancel at any time."""
        trying, self._trying = self._trying, None
        if trying is not None:
            trying.cancel()
            await asyncio.wait([trying])
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _try_again(self) -> None:
        while not self.is_up:
            await asyncio.sleep(TRY_AGAIN)
            try:
                self._connection = await self.dial()
            except OSError as error:
                self.reason = str(error)
        self.reason = ""
        self._trying = None
        _log.info("QUIC reaches the gateway again: what is opened from now on uses it")
