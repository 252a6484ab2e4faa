"""HTTP datagrams as capsules of a stream (RFC 9297 3), and the payload of CONNECT-UDP in them (RFC 9298 5). Pure.

A capsule is a type, a length and a value; the first two are integers of 1, 2, 4 or 8 bytes (RFC 9000 16). Capsules of
other types than DATAGRAM are passed over, however long, without being kept.
"""

from __future__ import annotations

from typing import Final

from pyconnector.protocol.errors import ProtocolError
from pyconnector.web.varints import MAX_INTEGER, encode_integer, read_integer

__all__ = [
    "DATAGRAM",
    "MAX_DATAGRAM",
    "MAX_INTEGER",
    "MAX_UDP",
    "CapsuleReader",
    "encode_integer",
    "encode_udp_capsule",
    "read_integer",
    "udp_payload",
]

#: The type of a capsule that holds an HTTP datagram (RFC 9297 3.5).
DATAGRAM: Final = 0
#: Longest UDP payload (RFC 9298 5), and longest value of a DATAGRAM capsule: with a context id of any length before it.
MAX_UDP: Final = 65_527
MAX_DATAGRAM: Final = MAX_UDP + 8


def encode_udp_capsule(payload: bytes) -> bytes:
    """Return a DATAGRAM capsule with a UDP payload: context id 0 before it."""
    return b"\x00" + encode_integer(len(payload) + 1) + b"\x00" + payload


def udp_payload(datagram: bytes) -> bytes | None:
    """Return the UDP payload of an HTTP datagram; None where it is of another context, and so not for us.

    Raises:
        ProtocolError: it has no whole context id, or is longer than UDP can be.
    """
    found = read_integer(datagram, 0)
    if found is None:
        raise ProtocolError("an HTTP datagram has no context id")
    context, at = found
    if context:
        return None
    if len(datagram) - at > MAX_UDP:
        raise ProtocolError("a UDP payload is longer than UDP can be")
    return datagram[at:]


class CapsuleReader:
    """Cuts HTTP datagrams out of a stream that arrives in any pieces. What waits here is one piece and one datagram."""

    __slots__ = ("_at", "_buffer", "_skip")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._at = 0
        self._skip = 0  # bytes of a capsule's value that are passed over

    def __repr__(self) -> str:
        return f"<CapsuleReader {len(self._buffer) - self._at} bytes>"

    @property
    def is_whole(self) -> bool:
        """Whether nothing of a capsule has begun that has not ended."""
        return self._at == len(self._buffer) and not self._skip

    def feed(self, data: bytes) -> None:
        """Add bytes that arrived. Take all that `next` has before more is fed."""
        del self._buffer[: self._at]
        self._at = 0
        self._buffer += data

    def next(self) -> bytes | None:
        """Return the value of the next DATAGRAM capsule, b"" for a capsule that was passed over, None where more bytes
        are needed.

        Raises:
            ProtocolError: a datagram is longer than any could be.
        """
        buffer = self._buffer
        if self._skip:
            taken = min(self._skip, len(buffer) - self._at)
            self._at += taken
            self._skip -= taken
            return None if self._skip else b""
        kind = read_integer(buffer, self._at)
        length = read_integer(buffer, kind[1]) if kind is not None else None
        if kind is None or length is None:
            return None
        size, begin = length
        if kind[0] != DATAGRAM:
            self._skip, self._at = size, begin
            return b"" if not size else self.next()
        if size > MAX_DATAGRAM:
            raise ProtocolError(f"a datagram of {size} bytes is longer than any could be")
        if not size:
            raise ProtocolError("an HTTP datagram has no context id")
        if len(buffer) < begin + size:
            return None
        self._at = begin + size
        return bytes(buffer[begin : self._at])
