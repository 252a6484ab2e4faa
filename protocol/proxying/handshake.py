"""What a handshake of the gateway brings, whichever protocol it is. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol, TypeAlias


class Verdict(Enum):
    """What a client is told of its request."""

    GRANTED = "granted"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    UNROUTABLE = "unroutable"
    UNREACHABLE = "unreachable"
    BUSY = "busy"
    TOO_MANY = "too many"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client shows; the user name may end in `+NETWORK`."""

    user: str
    secret: str = field(repr=False)

    @property
    def client_id(self) -> str:
        """Without the virtual network."""
        return self.user.partition("+")[0]

    @property
    def virtual_network(self) -> str:
        """The name behind `+`; empty for the default."""
        return self.user.partition("+")[2]


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A client shows a token that was issued for it, in place of id and secret."""

    text: bytes = field(repr=False)
    virtual_network: str = ""


@dataclass(frozen=True, slots=True)
class Connect:
    """The client wants to reach a destination, over `tcp` or `udp`."""

    host: str
    port: int
    virtual_network: str = ""
    protocol: str = "tcp"


@dataclass(frozen=True, slots=True)
class Extended:
    """The client wants something else than a flow, by an extended CONNECT (RFC 8441, RFC 9220)."""

    protocol: str
    "The token of `:protocol`."
    path: bytes
    fields: dict[bytes, bytes] = field(repr=False)
    "By lower-case name; credentials are among them."
    virtual_network: str = ""


@dataclass(frozen=True, slots=True)
class Associate:
    """The client wants to send UDP."""


Event: TypeAlias = Credentials | AccessToken | Connect | Associate


class HandshakeError(Exception):
    """The client speaks something else, or asks for what is not there. `answer` is for the client."""

    def __init__(self, reason: str, answer: bytes = b"") -> None:
        super().__init__(reason)
        self.answer = answer


class Handshake(Protocol):
    """A conversation up to the request. After credentials, and after the request, the caller answers."""

    @property
    def leftover(self) -> bytes:
        """What follows the request."""

    def feed(self, data: bytes) -> Event | None:
        """Absorb bytes and return what they bring, or None where more are needed. One event at a time: feed b"" for
        the next.

        Raises:
            HandshakeError: they are something else.
        """

    def bytes_to_send(self) -> bytes:
        """Return what is to be sent now, and forget it."""

    def authenticated(self) -> bytes:
        """Return what the client is told when its credentials are accepted."""

    def refused(self, verdict: Verdict, reason: str = "") -> bytes:
        """Return what the client is told when its credentials are not."""

    def answer(self, verdict: Verdict, reason: str = "", bound: tuple[str, int] = ("0.0.0.0", 0)) -> bytes:
        """Return what the client is told of its request."""
