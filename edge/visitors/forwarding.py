"""What the tunnel is told of a visitor's request, whichever version of HTTP it came in. Pure."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from pyconnector.edge.connectors.exchange import TunnelRequest
from pyconnector.protocol.http.headers import RequestHead
from pyconnector.protocol.streams.connect import ConnectionType

if TYPE_CHECKING:
    from pyconnector.edge.visitors.http1.request_parser import VisitorRequest

_DEFAULT_PORTS = {"http": 80, "https": 443}
#: Spellings of hosts whose normal form is kept, each of 261 bytes at most: requests name the same few again and again.
HOSTS_KEPT = 1024


def tunnel_request(request: VisitorRequest, headers: list[tuple[bytes, bytes]]) -> TunnelRequest:
    """Return what is asked of the tunnel for `request`, whose fields `headers` stands in for."""
    if request.wants_trailers:
        headers = [*headers, (b"Te", b"trailers")]
    return TunnelRequest(
        kind=ConnectionType.WEBSOCKET if request.websocket else ConnectionType.HTTP,
        head=RequestHead(
            request.method,
            normal_host(request.host, request.scheme),
            request.target.decode("latin-1"),
            headers,
            request.body_length,
        ),
        takes_trailers=request.wants_trailers,
    )


@lru_cache(maxsize=HOSTS_KEPT)
def normal_host(host: bytes, scheme: str = "http") -> str:
    """Return a Host value as it goes on: lower case, without the dot of the root and without the port of its scheme.

    Spellings that mean the same (RFC 9110 4.2.3) must not meet different rules, here or behind the tunnel.
    """
    name = host_name(host)
    port = host.rpartition(b"]")[2].partition(b":")[2]
    default = _DEFAULT_PORTS[scheme]
    number = int(port) if port else default
    return name if number == default else f"{name}:{number}"


@lru_cache(maxsize=HOSTS_KEPT)
def host_name(host: bytes) -> str:
    """Return the name in a Host value: lower case, without port and without the dot of the root."""
    text = host.decode("ascii").lower()
    if text.startswith("["):
        return text.partition("]")[0] + "]"
    return text.partition(":")[0].removesuffix(".")
