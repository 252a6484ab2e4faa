"""The sentences an origin fails with, so that every kind of service says the same thing the same way.

The openings are those that users of the reference know from their logs (reference/ingress.md 7).
"""

from __future__ import annotations

from pyconnector.origins.base import OriginError

UNREACHABLE = (
    "Unable to reach the origin service. "
    "The service may be down or it may not be responding to traffic from pyconnector: "
)
ENDED_ABRUPTLY = "Incoming request ended abruptly: "
BROKE_PROTOCOL = "The origin service broke the protocol: "

#: Characters of somebody else's text (a certificate's name, an error's words) that a sentence quotes.
MAX_QUOTED = 100


def unreachable(cause: str) -> OriginError:
    """No connection came to be, or it ended before a response did."""
    return OriginError(UNREACHABLE + cause)


def not_connected(cause: str) -> OriginError:
    """No connection came to be: the service has seen nothing of the request."""
    return OriginError(UNREACHABLE + cause, detail={"stage": "connect"})


def never_sent(error: OriginError) -> bool:
    """Whether `error` came before anything of the request could reach the service."""
    return error.detail.get("stage") == "connect"


def broke_protocol(cause: str) -> OriginError:
    """The service answered with something that no correct server sends."""
    return OriginError(BROKE_PROTOCOL + cause)


def ended_abruptly(cause: str) -> OriginError:
    """The visitor's side of the request ended before its body did."""
    return OriginError(ENDED_ABRUPTLY + cause, 400)


def refused(cause: str) -> OriginError:
    """The request cannot be written to a service without harm."""
    return OriginError("The request cannot be forwarded: " + cause, 400)


def quoted(text: str) -> str:
    """`text` made fit for one line of a log: printable, short."""
    shown = text if len(text) <= MAX_QUOTED else text[: MAX_QUOTED - 1] + "…"
    return shown if shown.isprintable() else ascii(shown)[1:-1]
