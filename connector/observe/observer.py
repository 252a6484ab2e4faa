"""Who wants to know of requests: told of the beginning, the head and the end of each, with what is known of it so far.

The access log and the metrics of rules are observers, and so is whatever an embedding program gives. The request path
asks once per request whether there is one; where there is none a request costs nothing more.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pyconnector.connector.observe.log import Log
from pyconnector.origins.base import OriginError
from pyconnector.transport.errors import TransportError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyconnector.ingress import Rule
    from pyconnector.origins.base import OriginRequest, RequestKind
    from pyconnector.origins.layers.base import Layer

#: Seconds between two lines of the log that say that an observer fails.
COMPLAINT_INTERVAL = 60.0

_log = Log("observer")


class RequestRecord:
    """What is known of one request, filled in as it goes its way. Observers read it and change nothing."""

    __slots__ = (
        "bytes_in", "bytes_out", "claimed", "connection", "ended", "error", "kind", "origin_failed", "refused",
        "request", "rule", "rule_index", "started", "status",
    )  # fmt: skip

    def __init__(self, connection: int, kind: RequestKind | None = None, started: float = 0.0) -> None:
        self.connection = connection
        "Index of the connection to the edge that it came on."
        self.kind = kind
        "None where it was refused unread."
        self.request: OriginRequest | None = None
        "None where it cannot be read."
        self.claimed = ("", "")
        "Method and host as the edge stated them, of a request that cannot be read."
        self.rule: Rule | None = None
        "The rule that it met; None for private-network streams."
        self.rule_index = 0
        self.status = 0
        "Of the response; 0 where none was begun."
        self.error = ""
        "Why it failed; empty where it did not."
        self.refused = ""
        "Why a layer refused it."
        self.origin_failed = False
        "Whether it failed because the service could not serve."
        self.bytes_in = 0
        "Bytes of body that were read from the edge."
        self.bytes_out = 0
        "Bytes of body that were handed to the edge."
        self.started = started
        "On the event loop's clock, in seconds."
        self.ended = 0.0

    @property
    def duration(self) -> float:
        """Seconds from its whole opening to its end."""
        return self.ended - self.started

    def broke_off(self, error: BaseException) -> None:
        """Note that the request ended by `error`, before or within its response."""
        if isinstance(error, OriginError):
            self.origin_failed = True
            self.error = f"the origin broke off: {error}"
        elif isinstance(error, TransportError):
            self.error = f"client disconnected: {error}"
        elif isinstance(error, asyncio.CancelledError):
            self.error = "cut off: client disconnected, or the connection to the edge ended"
        else:
            self.error = f"failed: {type(error).__name__}"


class Observer:
    """Is told of every request of a Connector, from the event loop; must not block. Does nothing by itself."""

    layer: Layer | None = None
    "What it wants around the service of every rule; outermost of all but the check of Access tokens."

    def begin(self, record: RequestRecord) -> None:
        """A request has come; its rule is not known yet."""

    def head(self, record: RequestRecord) -> None:
        """The answer begins: `record.status` is known. Not told where the request is broken off before."""

    def end(self, record: RequestRecord) -> None:
        """The request is over, however it ended: nothing more becomes of `record`."""


class Observers(Observer):
    """Tells several. One that raises costs no request and is still told of the next; the log says so now and then."""

    def __init__(self, observers: Iterable[Observer]) -> None:
        self._observers = tuple(observers)
        # Most want to hear of the end alone, and each call costs every request.
        self._at_begin = [each for each in self._observers if type(each).begin is not Observer.begin]
        self._at_head = [each for each in self._observers if type(each).head is not Observer.head]
        self._at_end = [each for each in self._observers if type(each).end is not Observer.end]
        self._complained: dict[int, float] = {}

    def __repr__(self) -> str:
        return f"<Observers {len(self._observers)}>"

    def begin(self, record: RequestRecord) -> None:
        """See `Observer.begin`."""
        for observer in self._at_begin:
            try:
                observer.begin(record)
            except Exception as error:  # noqa: BLE001 - it is the program's own, and no request's business
                self._complain(observer, error)

    def head(self, record: RequestRecord) -> None:
        """See `Observer.head`."""
        for observer in self._at_head:
            try:
                observer.head(record)
            except Exception as error:  # noqa: BLE001
                self._complain(observer, error)

    def end(self, record: RequestRecord) -> None:
        """See `Observer.end`."""
        for observer in self._at_end:
            try:
                observer.end(record)
            except Exception as error:  # noqa: BLE001
                self._complain(observer, error)

    def _complain(self, observer: Observer, error: Exception) -> None:
        now = asyncio.get_running_loop().time()
        last = self._complained.get(id(observer))
        if last is None or now - last >= COMPLAINT_INTERVAL:
            self._complained[id(observer)] = now
            _log.error("The observer %s fails: %s", type(observer).__name__, type(error).__name__, exc_info=error)


def combined(observers: Iterable[Observer]) -> Observer | None:
    """Return one observer for all of `observers`, or None where there is none."""
    found = tuple(observers)
    return Observers(found) if found else None
