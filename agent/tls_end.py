"""TLS to a service within a flow: over any `End` of `agent.carry`, and so within the gateway's own TLS too.

By memory and not by `loop.start_tls`, which takes sockets of the loop alone, and up to Python 3.11 fails in its own way
where a certificate within TLS is refused.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyconnector.agent.carry import End


class TlsEnd:
    """One TLS session. One task may receive and another send."""

    def __init__(self, end: End, context: ssl.SSLContext, server_name: str) -> None:
        self._end = end
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.ssl_object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)
        self._flushing = asyncio.Lock()

    async def handshake(self) -> None:
        """Agree with the service. Cancel, or a failure, leaves it of no use: `abort` what is below.

        Raises:
            OSError: it ended the connection, or is not trusted (`ssl.SSLCertVerificationError`).
        """
        while True:
            try:
                self.ssl_object.do_handshake()
            except ssl.SSLWantReadError:
                await self._feed()
                continue
            except ssl.SSLError:
                await self._flush()  # it is told why
                raise
            await self._flush()
            return

    async def receive(self, limit: int) -> bytes:
        """Return up to `limit` bytes, b"" at the end. Cancel at any time: no byte is lost. Raises OSError."""
        while True:
            try:
                return self.ssl_object.read(limit)
            except ssl.SSLWantReadError:
                await self._feed()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""

    async def send(self, data: bytes) -> None:
        """Send bytes, waiting while the service takes less than comes. Raises OSError."""
        if data:
            self.ssl_object.write(data)
            await self._flush()

    async def _feed(self) -> None:
        await self._flush()
        if data := await self._end.receive():
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    async def _flush(self) -> None:
        async with self._flushing:
            if data := self._outgoing.read():
                await self._end.send(data)
