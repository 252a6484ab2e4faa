"""Opens connections to one application: TCP, TLS, the handshake, and what to do where the edge refuses."""

from __future__ import annotations

import asyncio
import os
import ssl
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pyconnector.agent.access.errors import AccessError
from pyconnector.agent.access.handshake import (
    MAX_HEAD,
    MAX_TEXT,
    HandshakeError,
    Head,
    check_accepted,
    encode_request,
    encode_upgrade,
    read_head,
    refused_token,
    sentence_of,
)
from pyconnector.agent.access.stream import AccessStream
from pyconnector.agent.outgoing import open_streams
from pyconnector.web.websocket.handshake import new_key

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from pyconnector.agent.access.credentials import Credentials
    from pyconnector.agent.access.place import Place
    from pyconnector.transport.proxy.address import Proxy

#: Seconds until the service must be connected, and in which an edge that broke off is asked why.
CONNECT_TIMEOUT: Final = 30.0
ASK_TIMEOUT: Final = 5.0
#: Who the edge says that a credential stands for.
IDENTITY_PATH: Final = "/cdn-cgi/access/get-identity"
_PRODUCT: Final = "pyconnector"


class Dialer:
    """Opens any number of connections to one application."""

    def __init__(
        self,
        place: Place,
        credentials: Credentials,
        *,
        ca_file: str | Path | None = None,
        user_agent: str = _PRODUCT,
        log_in: Callable[[bool], Awaitable[str]] | None = None,
        proxy: Proxy | None = None,
    ) -> None:
        """`log_in` gives the token of a login where the edge wants one; True means that the last one was refused.

        Raises:
            AccessError: the authorities cannot be used.
        """
        self.place = place
        self.credentials = credentials
        self._user_agent = user_agent
        self._log_in = log_in
        self._proxy = proxy
        self._tls = client_context(place, ca_file) if place.tls else None

    def __repr__(self) -> str:
        return f"<Dialer {self.place.url}>"

    async def open(self) -> AccessStream:
        """Return a connection to the service. Cancel leaves nothing open.

        Raises:
            AccessError: it was refused, or not reached.
        """
        try:
            return await self._open(self.credentials)
        except AccessError as error:
            if not error.wants_login or self._log_in is None or self.credentials.has_service_token:
                raise
        for refused in (False, True):
            credentials = self.credentials.with_app_token(await self._log_in(refused))
            try:
                return await self._open(credentials)
            except AccessError as error:
                if refused or not error.wants_login:
                    raise
        raise AssertionError("unreachable")

    async def _open(self, credentials: Credentials) -> AccessStream:
        place, key = self.place, new_key(os.urandom)
        fields = (("User-Agent", self._user_agent), *credentials.fields())
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                reader, writer = await self._connect()
                try:
                    writer.write(encode_upgrade(place, key, fields))
                    head = await _read_head(reader)
                    if head.status != 101:
                        raise await _refusal(place, head, reader)
                    check_accepted(head, key)
                except BaseException:
                    writer.transport.abort()
                    raise
        except TimeoutError:
            raise AccessError(f"{place.host} did not answer within {CONNECT_TIMEOUT:g} s") from None
        except HandshakeError as error:
            raise AccessError(f"{place.host}: {error}") from error
        except AccessError:
            raise
        except (EOFError, OSError) as error:
            raise AccessError(f"{place.host} ended the connection without an answer") from error
        return AccessStream(reader, writer, lambda: self._why_broken(credentials))

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        place = self.place
        host, port = place.address
        try:
            return await open_streams(
                host, port, tls=self._tls, server_name=place.host, proxy=self._proxy, limit=MAX_HEAD
            )
        except ssl.SSLError as error:
            reason = getattr(error, "verify_message", "") or error.reason or error
            raise AccessError(f"the certificate of {place.host} is not trusted: {reason}") from error
        except OSError as error:
            raise AccessError(f"{place.host} cannot be reached: {error.strerror or error}") from error

    async def _why_broken(self, credentials: Credentials) -> AccessError:
        """Ask the edge whether it still knows who we are: that its connections end is how it takes that back."""
        broken = AccessError(f"the edge broke the connection to {self.place.host} off")
        fields = credentials.identity_fields() or tuple(
            entry for entry in credentials.more if entry[0].lower().startswith("cf-access-")
        )
        if not fields:
            return broken
        try:
            async with asyncio.timeout(ASK_TIMEOUT):
                reader, writer = await self._connect()
                try:
                    place = replace(self.place, target=IDENTITY_PATH)
                    own = (("User-Agent", self._user_agent), ("Connection", "close"))
                    writer.write(encode_request("GET", place, (*own, *fields)))
                    head = await _read_head(reader)
                    body = await _read_text(head, reader)
                finally:
                    writer.transport.abort()
        except (OSError, ValueError, EOFError):
            return broken
        if head.status in {401, 403} and refused_token(body):
            what = "the service token" if credentials.has_service_token else "the login"
            return AccessError(f"the edge ended the connection: {what} is no longer valid for {self.place.host}", 401)
        return broken


def client_context(place: Place, ca_file: str | Path | None) -> ssl.SSLContext:
    """Return what an application's certificate is verified with.

    Raises:
        AccessError: the file holds no authorities.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise AccessError(f"{ca_file} holds no certificate that can vouch for an edge") from error
    context.hostname_checks_common_name = False  # RFC 9525 6.3
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not place.verify and ca_file is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


async def _read_head(reader: asyncio.StreamReader) -> Head:
    try:
        return read_head(await reader.readuntil(b"\r\n\r\n"))
    except asyncio.LimitOverrunError:
        raise HandshakeError("the answer's head is too large") from None


async def _read_text(head: Head, reader: asyncio.StreamReader) -> bytes:
    length = head.fields.get("content-length", "")
    if not length.isdigit() or len(length) > 9:
        return b""
    try:
        return await reader.readexactly(min(int(length), MAX_TEXT))
    except asyncio.IncompleteReadError as error:
        return error.partial


async def _refusal(place: Place, head: Head, reader: asyncio.StreamReader) -> AccessError:
    sentence = sentence_of(head, await _read_text(head, reader))
    # An edge of ours never redirects a program: it says that nothing was shown.
    wants_login = head.wants_login or head.status == 401
    return AccessError(f"{place.host}: {sentence}", head.status, wants_login=wants_login)
