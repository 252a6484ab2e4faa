"""The seam between the edge and the request path: one request with its body, and exactly one answer.

The path knows nothing of streams, openings or HTTP/2: each form of the tunnel protocol is one subclass of `Exchange`
(`connector.link.quic.exchange` for QUIC data streams). Whoever makes an exchange runs the task that serves it, cancels
that task when the edge gives the request up, and is the only one to touch what lies underneath.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from pyconnector.origins.base import ByteReader, OriginRequest, RequestKind

#: Longest reason that is sent to the edge.
MAX_REASON_CHARS = 1024


class Exchange(ABC):
    """One request from the edge, and its answer.

    Exactly one of `respond`, `acknowledge` and `fail` begins the answer; `finish` ends what the first two began.
    `abort` may come at any time. The methods that send raise `TransportError` where the edge no longer wants it.
    """

    __slots__ = ()

    kind: RequestKind
    body: ByteReader
    "The body of the request; behind an answer that is a tunnel, what the edge sends into it."

    @abstractmethod
    def request(self) -> OriginRequest:
        """Return what is asked for.

        Raises:
            ProtocolError: the edge declared something that is no request.
        """

    @abstractmethod
    def claimed(self) -> tuple[str, str]:
        """Return method and host as the edge stated them, unchecked: for the log of a request that cannot be read."""

    @property
    @abstractmethod
    def number(self) -> int:
        """The number of its stream on the connection, for logs."""

    def read_for(self, reader: Hashable) -> None:  # noqa: B027 - few forms of the protocol need to know
        """Say who reads the body, such as a rule: see `transport.seam.Stream.read_for`. It never raises."""

    @abstractmethod
    def respond(self, status: int, headers: Sequence[tuple[bytes, bytes]], *, tunnel: bool = False) -> None:
        """Begin the response. It leaves with the first piece of its body, or with `flush`.

        `tunnel`: both directions go on as one tunnel of bytes, without trailers.

        Raises:
            ProtocolError: it cannot be carried. Nothing was sent; `fail` is still possible.
        """

    @abstractmethod
    def acknowledge(self) -> None:
        """Begin the answer to a TCP request: the destination is reached, what follows is its bytes."""

    @abstractmethod
    def send_nowait(self, data: bytes) -> bool:
        """Queue a piece of the body. True where the backlog is above its watermark: `await drain()` before more."""

    @abstractmethod
    def flush(self) -> bool:
        """Send what waits for a first piece of body. Returns as `send_nowait`."""

    @abstractmethod
    async def drain(self) -> None:
        """Wait until the backlog is at its low watermark. Cancel at any time."""

    @abstractmethod
    def finish(self, data: bytes = b"", trailers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """Queue the last piece of the body and its end. Trailers are left out where the edge takes none.

        Raises:
            ProtocolError: the trailers cannot be carried.
        """

    @abstractmethod
    def fail(self, reason: str, status: int = 502, *, rate_limited: bool = False) -> None:
        """Answer with an error in place of a response; the edge shows its visitor `status`."""

    @abstractmethod
    def abort(self) -> None:
        """Give up both directions at once. Idempotent; a no-op for what has ended already."""
