"""Fetch a team's key document over HTTPS: verified, bounded in size and time, and no redirect followed.

Runs in a thread, because the standard library's client obeys the proxy variables of the environment as the reference
does. Called by the access layer's key cache (`origins.layers.access`), at most once in ten seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import http.client
import re
import socket
import ssl
import threading
import urllib.error
import urllib.request

from pyconnector.connector.background import in_background
from pyconnector.identity.access_token.keys import MAX_KEYS_BYTES
from pyconnector.origins.layers.access.key_cache import FETCH_TIMEOUT
from pyconnector.transport.tls.edge_roots import system_roots

_PIECE = 65_536
_OF_THIS_MACHINE = re.compile(r"http://(?:127\.0\.0\.1|localhost|\[::1\])(?::\d{1,5})?/")


async def fetch_https(url: str, *, timeout: float = FETCH_TIMEOUT) -> bytes:
    """Return the document at `url`, cut off one byte after `MAX_KEYS_BYTES`, which the reader of it refuses.

    Cancel: the connection is broken off, and the thread ends.

    Raises:
        OSError: no HTTPS (nor HTTP of this machine), unreachable, not 200 (a redirect is none), not trusted, cut short,
            or too slow.
    """
    connections = _Connections()
    try:
        async with asyncio.timeout(timeout):
            return await in_background(functools.partial(_fetch, url, timeout, connections))
    except TimeoutError:
        raise TimeoutError("the key endpoint takes too long") from None
    finally:
        connections.end()


class _Connections:
    """The TLS connections of one fetch, so that they can be broken off from outside.

    The timeout of a socket is for one wait, and an endpoint that sends a byte a second, in its handshake, its head or
    its document, makes many of those.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: list[ssl.SSLSocket] = []
        self._ended = False

    def add(self, connection: ssl.SSLSocket) -> None:
        """Remember a connection that is about to begin its handshake."""
        with self._lock:
            self._open.append(connection)
            if self._ended:
                _break_off(connection)

    def end(self) -> None:
        """Break all of them off, and those that are begun later. Idempotent."""
        with self._lock:
            self._ended = True
            for connection in self._open:
                _break_off(connection)


def _break_off(connection: ssl.SSLSocket) -> None:
    with contextlib.suppress(OSError):
        # Of the socket below: that of TLS would take away what another thread is using.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


def _fetch(url: str, timeout: float, connections: _Connections) -> bytes:
    document = b""
    try:
        # Without TLS only from this machine: the config takes no other (`access.keysUrl`).
        opener = _plain_opener() if _OF_THIS_MACHINE.match(url) else _opener(connections)
        with opener.open(url, timeout=timeout * 2) as response:
            if response.status != 200:
                raise OSError(f"the key endpoint answered {response.status}")
            while len(document) <= MAX_KEYS_BYTES and (piece := response.read1(_PIECE)):
                document += piece
            if response.length and len(document) <= MAX_KEYS_BYTES:
                raise OSError("the key document was cut short")
    except urllib.error.HTTPError as error:
        error.close()
        raise OSError(f"the key endpoint answered {error.code}") from error
    except urllib.error.URLError as error:
        cause = error.reason
        raise OSError(getattr(cause, "verify_message", "") or str(cause)) from error
    except http.client.HTTPException as error:
        raise OSError(f"the key endpoint does not speak HTTP: {type(error).__name__}") from error
    return document[: MAX_KEYS_BYTES + 1]


def _plain_opener() -> urllib.request.OpenerDirector:
    """HTTP and nothing else: no proxy stands between this machine and itself."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.HTTPHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _opener(connections: _Connections) -> urllib.request.OpenerDirector:
    """HTTPS and what a proxy needs; nothing that follows redirects or opens files."""

    class Watched(ssl.SSLSocket):
        def do_handshake(self, block: bool = False) -> None:
            connections.add(self)
            super().do_handshake(block)

    context = ssl.create_default_context()
    context.sslsocket_class = Watched
    if ssl.HAS_NEVER_CHECK_COMMON_NAME:
        context.hostname_checks_common_name = False  # RFC 9525 6.3
    # Since Python 3.13 it is stricter than the reference, and than most private authorities are.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not context.get_ca_certs():  # a Python without authorities of its own, as on macOS
        context.load_verify_locations(system_roots())
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPSHandler(context=context),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener
