"""Fetch a team's key document over HTTPS: verified, bounded in size and time, and no redirect followed.

Runs in a thread, because the standard library's client obeys the proxy variables of the environment as the reference
does. Called by `connector.layers.access.key_cache`, at most once in ten seconds.
"""

from __future__ import annotations

import asyncio
import http.client
import ssl
import time
import urllib.error
import urllib.request

from pyconnector.identity.access_token.keys import MAX_KEYS_BYTES
from pyconnector.transport.tls.edge_roots import system_roots

#: Seconds that one fetch may take.
FETCH_TIMEOUT = 5.0
_PIECE = 65_536


async def fetch_https(url: str, *, timeout: float = FETCH_TIMEOUT) -> bytes:
    """Return the document at `url`, cut off one byte after `MAX_KEYS_BYTES`, which the reader of it refuses.

    Cancel: the request goes on in its thread until it answers or times out, and its outcome is dropped.

    Raises:
        OSError: no HTTPS, unreachable, not 200 (a redirect is none), not trusted, cut short, or too slow.
    """
    return await asyncio.to_thread(_fetch, url, timeout)


def _fetch(url: str, timeout: float) -> bytes:
    deadline = time.monotonic() + timeout
    document = b""
    try:
        with _opener().open(url, timeout=timeout) as response:
            if response.status != 200:
                raise OSError(f"the key endpoint answered {response.status}")
            # Piece by piece: the timeout of a socket is for one wait, and a drip could make many.
            while len(document) <= MAX_KEYS_BYTES and (piece := response.read1(_PIECE)):
                document += piece
                if time.monotonic() > deadline:
                    raise TimeoutError("the key document takes too long")
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


def _opener() -> urllib.request.OpenerDirector:
    """HTTPS and what a proxy needs; nothing that follows redirects or opens files."""
    context = ssl.create_default_context()
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
