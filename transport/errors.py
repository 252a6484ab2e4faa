"""Errors of the transport room.

TransportError
├── ConnectFailed      no connection came to be      (caught by the supervisor)
├── ConnectionClosed   the whole connection ended    (caught by accept loops and stream handlers)
├── StreamReset        the peer aborted a direction  (caught by the handler of that stream)
├── StreamClosed       this side already ended it    (a caller's mistake)
└── StreamBusy         two users of one direction    (a caller's mistake)

Errors of the engines and of sockets are translated into these where they arise and nowhere else.
"""

from __future__ import annotations


class TransportError(Exception):
    """Root of everything the transport room raises."""


class ConnectFailed(TransportError):
    """No connection came to be: unreachable, refused, timed out, or TLS said no.

    `reason` is one sentence fit for a user; `untrusted` is True where the peer's certificate was the cause, `no_route`
    where this machine or its network said at once that there is no way: it may know better as soon as that changes.
    """

    def __init__(self, reason: str, *, untrusted: bool = False, no_route: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.untrusted = untrusted
        self.no_route = no_route


class ConnectionClosed(TransportError):
    """The connection ended. `code` and `reason` are what the closing side gave.

    `local` is True where this side closed it; `idle` is True where nothing was heard until the idle timeout.
    """

    def __init__(self, reason: str = "", *, code: int = 0, local: bool = False, idle: bool = False) -> None:
        super().__init__(reason or ("closed by this side" if local else "closed by the peer"))
        self.reason = reason
        self.code = code
        self.local = local
        self.idle = idle


class StreamReset(TransportError):
    """The peer aborted one direction of a stream (RESET_STREAM or STOP_SENDING, RFC 9000 19.4, 19.5)."""

    def __init__(self, code: int = 0) -> None:
        super().__init__(f"stream reset by the peer with code {code}")
        self.code = code


class StreamClosed(TransportError):
    """This side already finished, reset or stopped that direction."""


class StreamBusy(TransportError):
    """Another task is already using that direction of the stream."""
