"""What an origin is: one coroutine from a request and a body reader to a response and a body reader.

The caller is the connector's request path; it passes an edge stream as the body reader, which fits `ByteReader`
as it is. An origin never sees QUIC and the caller never sees a socket.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from pyconnector.identity.access_token import Identity

#: Header fields in order, duplicates kept, names and values as bytes.
Headers: TypeAlias = list[tuple[bytes, bytes]]


class RequestKind(Enum):
    """What the edge declared the stream to be (wire.md 4.1)."""

    HTTP = "http"
    WEBSOCKET = "websocket"
    TCP = "tcp"


class ByteReader(Protocol):
    """A source of bytes with end of stream; an edge stream fits it."""

    async def receive(self, limit: int = 65_536) -> bytes:
        """Return 1..`limit` bytes, or b"" at the end. Cancel at any time: no byte is lost."""

    def receive_nowait(self, limit: int = 65_536) -> bytes | None:
        """As `receive`, or None where it would wait."""


@dataclass(slots=True, kw_only=True)
class OriginRequest:
    """One request on its way to a local service."""

    kind: RequestKind
    method: str
    target: str
    "Origin-form path and query, exactly as received (surrogateescape UTF-8)."
    host: str
    "Value for the Host field; may hold a port."
    headers: Headers
    "Without Host; content-length and transfer-encoding are not in here, `body_length` says what they said."
    body_length: int | None = 0
    "0 for no body, None for a body of unknown length, else its exact length in bytes."
    destination: str = ""
    "IP:port for kind TCP."
    identity: Identity | None = None
    "Who a verified Access token stands for; set by the connector's access stage alone."


class OriginResponse(ABC):
    """A response whose head has arrived; its body is read with `receive`.

    Every response ends in exactly one of `finish` (after the body was read to its end) or `abort`.
    """

    status: int
    headers: Headers
    #: Trailer fields; complete once the body is at its end.
    trailers: Headers
    #: True where both directions live on as one tunnel (101, TCP): the end of the body is then half a close.
    tunnel: bool = False
    #: Why the service could not serve, where this response stands in for its own (an error page).
    failure: str = ""

    @abstractmethod
    async def receive(self, limit: int = 65_536) -> bytes:
        """Return 1..`limit` body bytes, or b"" at the end. Cancel at any time: no byte is lost.

        Raises:
            OriginError: the origin broke off or broke the protocol in mid-body.
        """

    @abstractmethod
    def receive_nowait(self, limit: int = 65_536) -> bytes | None:
        """As `receive`, or None where it would wait."""

    @abstractmethod
    async def finish(self) -> None:
        """Wait for the other direction of a tunnel to end too, then release what was held.

        For an HTTP exchange it returns at once (an unfinished upload is abandoned). Cancel aborts.
        """

    @abstractmethod
    def abort(self) -> None:
        """Give up at once: the origin sees its connection close. Idempotent; a no-op after `finish`."""


@dataclass(slots=True)
class OriginError(Exception):
    """A local service could not serve. Caught by the request path, which answers with `status` and `reason`."""

    reason: str
    "One sentence for the log and for the visitor's error page; never holds a secret."
    status: int = 502
    detail: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.reason


class Origin(ABC):
    """One kind of local service, with what it holds open (a pool, a listener)."""

    @abstractmethod
    async def serve(self, request: OriginRequest, body: ByteReader) -> OriginResponse:
        """Send `request` and what `body` yields; return once the response head is there.

        The origin keeps reading `body` by itself after this returned, until the response is finished or aborted.
        Cancel closes the connection to the service and leaves nothing behind.

        Raises:
            OriginError: no response could be had.
        """

    async def start(self) -> None:  # noqa: B027 - a hook that few kinds need
        """Prepare what must exist before the first request (a listener, a CA file). Raises OriginError."""

    async def probe(self) -> None:  # noqa: B027
        """Find out whether the service can be reached, without asking it anything. Cancel at any time.

        Raises:
            OriginError: it cannot.
        """

    async def close(self) -> None:  # noqa: B027
        """Release pools and listeners. Requests being served go on to their end. Idempotent."""
