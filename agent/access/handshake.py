"""The client's side of a WebSocket handshake (RFC 6455 section 4.1), and of short HTTP answers. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pyconnector.identity.policies.policy import Reason
from pyconnector.web.websocket.handshake import accept_value

if TYPE_CHECKING:
    from pyconnector.agent.access.place import Place

#: Bytes of an answer's head, and of a refusal's text that are read.
MAX_HEAD: Final = 64 * 1024
MAX_TEXT: Final = 4 * 1024
#: Where Access sends people to log in.
LOGIN_PATH: Final = "/cdn-cgi/access/login"
_STATUS_LINE = re.compile(r"HTTP/1\.[01] ([1-5][0-9]{2})(?: .*)?")
_SHOWN: Final = 300


class HandshakeError(ValueError):
    """The other side does not speak as it must."""


@dataclass(frozen=True, slots=True)
class Head:
    """The head of an answer."""

    status: int
    fields: dict[str, str]
    "By lower-case name; of several the last."

    @property
    def wants_login(self) -> bool:
        """Whether a person must log in first (reference/cli.md 5)."""
        return self.status in {301, 302, 303, 307} and LOGIN_PATH in self.fields.get("location", "").partition("?")[0]


def encode_request(method: str, place: Place, fields: Iterable[tuple[str, str]]) -> bytes:
    """Return the head of a request. Values have been looked at by whoever made them."""
    lines = [f"{method} {place.target} HTTP/1.1", f"Host: {place.authority}"]
    lines += [f"{name}: {value}" for name, value in fields]
    return "\r\n".join([*lines, "", ""]).encode("ascii")


def encode_upgrade(place: Place, key: bytes, fields: Iterable[tuple[str, str]]) -> bytes:
    """Return a request for a WebSocket."""
    own = [
        ("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", key.decode("ascii")),
    ]  # fmt: skip
    return encode_request("GET", place, [*own, *fields])


def read_head(data: bytes) -> Head:
    """Read the head of an answer.

    Raises:
        HandshakeError: it is no HTTP/1.1.
    """
    lines = data.decode("latin-1").split("\r\n")
    found = _STATUS_LINE.fullmatch(lines[0])
    if found is None:
        raise HandshakeError("what answers does not speak HTTP/1.1")
    fields: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            fields[name.strip().lower()] = value.strip()
    return Head(int(found[1]), fields)


def check_accepted(head: Head, key: bytes) -> None:
    """Check that a 101 answers this handshake.

    Raises:
        HandshakeError: it does not.
    """
    accepted = head.fields.get("sec-websocket-accept", "").encode("latin-1")
    if head.fields.get("upgrade", "").lower() != "websocket" or accepted != accept_value(key):
        raise HandshakeError("what answers is no WebSocket")


def sentence_of(head: Head, body: bytes) -> str:
    """Return why an edge refused: its own sentence where it has one, as ours does, else what the status says."""
    if head.fields.get("content-type", "").partition(";")[0].strip() == "application/json":
        try:
            said = json.loads(body)["message"]
        except (ValueError, KeyError, TypeError, RecursionError):
            said = None
        if isinstance(said, str) and said:
            return "".join(char for char in said[:_SHOWN] if char.isprintable()).rstrip(".")
    if head.wants_login:
        return "somebody must log in first"
    return _MEANINGS.get(head.status, f"the edge answered with status {head.status}")


def refused_token(body: bytes) -> bool:
    """Return whether an edge of ours says that what was shown is not valid (any more)."""
    try:
        reason = json.loads(body)["reason"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
    return reason in _NOT_VALID


_NOT_VALID: Final = {Reason.BAD_CREDENTIALS.value, Reason.BAD_TOKEN.value, Reason.REVOKED.value}
_MEANINGS: Final = {
    200: "what answers there is no TCP service: it takes no WebSocket",
    401: "nobody is known by what was shown",
    403: "nobody may pass with what was shown",
    404: "nothing is there",
    426: "what answers there takes no WebSocket",
    429: "too many attempts were made: wait a minute",
    502: "the service behind it cannot be reached",
    530: "no connector of its tunnel is connected",
}
