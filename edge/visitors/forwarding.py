"""What the tunnel is told of a visitor's request, whichever version of HTTP it came in. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyconnector.protocol.http.headers import RequestHead, request_metadata
from pyconnector.protocol.streams.connect import ConnectionType, ConnectRequest
from pyconnector.protocol.streams.trailers import TRAILERS_OFFER

if TYPE_CHECKING:
    from pyconnector.edge.visitors.http1.request_parser import VisitorRequest


def connect_request(request: VisitorRequest, headers: list[tuple[bytes, bytes]]) -> ConnectRequest:
    """Return what opens the stream for `request`, whose fields `headers` stands in for.

    A visitor who takes trailers is one whose connector is offered to send them.

    Raises:
        ProtocolError: a field cannot be carried.
    """
    host = request.host.decode("ascii")
    if request.wants_trailers:
        headers = [*headers, (b"Te", b"trailers")]
    head = RequestHead(request.method, host, request.target.decode("latin-1"), headers, request.body_length)
    metadata = request_metadata(head)
    if request.wants_trailers:
        metadata = (*metadata, TRAILERS_OFFER)
    return ConnectRequest(
        dest=f"http://{host}{head.target}",
        type=ConnectionType.WEBSOCKET if request.websocket else ConnectionType.HTTP,
        metadata=metadata,
    )


def host_name(host: bytes) -> str:
    """Return the name in a Host value: lower case, without port and without the dot of the root."""
    text = host.decode("ascii")
    if text.startswith("["):
        return text.partition("]")[0] + "]"
    return text.partition(":")[0].lower().rstrip(".")
