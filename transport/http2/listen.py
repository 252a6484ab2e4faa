"""The TLS that an edge shows on the sockets that it accepts (wire.md 1)."""

from __future__ import annotations

import os
import ssl
import tempfile
from typing import TYPE_CHECKING

from pyconnector.transport.errors import ConnectFailed

if TYPE_CHECKING:
    from pyconnector.transport.settings import ServerTls


def server_context(tls: ServerTls) -> ssl.SSLContext:
    """Return a context with that certificate. ALPN is left open: connectors offer none.

    Raises:
        ConnectFailed: certificate and key do not fit.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    show_certificate(context, tls)
    return context


def show_certificate(context: ssl.SSLContext, tls: ServerTls) -> None:
    """Let a server's context show that certificate to whoever comes from now on.

    Raises:
        ConnectFailed: certificate and key do not fit.
    """
    # The library reads files alone; this one is there for its owner alone, and for a moment.
    descriptor, path = tempfile.mkstemp(prefix="pyconnector-edge-", suffix=".pem")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(tls.private_key + b"\n" + tls.certificate_chain)
        context.load_cert_chain(path)
    except ssl.SSLError as error:
        raise ConnectFailed(f"certificate and key do not fit: {error.reason or error}") from error
    finally:
        os.unlink(path)
