"""SOCKS5 (RFC 1928), with user name and password (RFC 1929) or for whoever comes: CONNECT and UDP ASSOCIATE.

Every message has a length that its first bytes tell, at most 513 bytes, so what waits for the rest of one is bounded.
"""

from __future__ import annotations

import ipaddress
from typing import Final

from pyconnector.protocol.proxying.handshake import (
    Associate,
    Connect,
    Credentials,
    Event,
    HandshakeError,
    Verdict,
)

VERSION: Final = 5
_NO_PASSWORD, _PASSWORD = 0, 2
_NONE_ACCEPTABLE: Final = 0xFF
_CONNECT, _ASSOCIATE = 1, 3
_IPV4, _NAME, _IPV6 = 1, 3, 4
#: What the reply to a request says.
_REPLIES: Final = {
    Verdict.GRANTED: 0,
    Verdict.FAILED: 1,
    Verdict.FORBIDDEN: 2,
    Verdict.UNAUTHENTICATED: 2,
    Verdict.TOO_MANY: 2,
    Verdict.UNROUTABLE: 3,
    Verdict.UNREACHABLE: 5,
    Verdict.BUSY: 1,
}
_COMMAND_UNSUPPORTED, _ADDRESS_UNSUPPORTED = 7, 8


class Socks5:
    """One client's handshake."""

    def __init__(self, *, anybody: bool = False) -> None:
        """`anybody` asks for no password: for a listener that nobody else reaches."""
        self._method = _NO_PASSWORD if anybody else _PASSWORD
        self._data = b""
        self._state = "greeting"
        self._to_send = b""

    def __repr__(self) -> str:
        return f"<Socks5 {self._state}>"

    @property
    def leftover(self) -> bytes:
        """What follows the request."""
        return self._data

    def feed(self, data: bytes) -> Event | None:
        """See `Handshake.feed`."""
        self._data += data
        if self._state == "greeting" and not self._greeting():
            return None
        if self._state == "password":
            return self._password()
        return self._request() if self._state == "request" else None

    def bytes_to_send(self) -> bytes:
        """See `Handshake.bytes_to_send`."""
        data, self._to_send = self._to_send, b""
        return data

    def authenticated(self) -> bytes:
        """See `Handshake.authenticated`."""
        self._state = "request"
        return b"\x01\x00"

    def refused(self, verdict: Verdict, reason: str = "") -> bytes:
        """See `Handshake.refused`: SOCKS has no words for why."""
        self._state = "over"
        return b"\x01\x01"

    def answer(self, verdict: Verdict, reason: str = "", bound: tuple[str, int] = ("0.0.0.0", 0)) -> bytes:
        """See `Handshake.answer`."""
        return bytes((VERSION, _REPLIES[verdict], 0)) + encode_address(*bound)

    def _greeting(self) -> bool:
        data = self._data
        if data and data[0] != VERSION:
            raise HandshakeError("the client does not speak SOCKS5")
        if len(data) < 2 or len(data) < 2 + data[1]:
            return False
        if self._method not in data[2 : 2 + data[1]]:
            raise HandshakeError("the client offers no way to authenticate", bytes((VERSION, _NONE_ACCEPTABLE)))
        self._data = data[2 + data[1] :]
        self._to_send = bytes((VERSION, self._method))
        self._state = "password" if self._method == _PASSWORD else "request"
        return True

    def _password(self) -> Event | None:
        data = self._data
        if data and data[0] != 1:
            raise HandshakeError("the client's user name and password are of an unknown version")
        if len(data) < 2 or len(data) < 3 + data[1]:
            return None
        at = 2 + data[1]
        end = at + 1 + data[at]
        if len(data) < end:
            return None
        self._data = data[end:]
        self._state = "judged"
        user, secret = data[2:at], data[at + 1 : end]
        return Credentials(user.decode("utf-8", "surrogateescape"), secret.decode("utf-8", "surrogateescape"))

    def _request(self) -> Event | None:
        data = self._data
        if data and data[0] != VERSION:
            raise HandshakeError("the client's request is of another version")
        if len(data) < 4:
            return None
        if data[3] not in {_IPV4, _NAME, _IPV6}:
            raise HandshakeError("the client's address is of an unknown kind", self._refusal(_ADDRESS_UNSUPPORTED))
        found = decode_address(data, 3)
        if found is None:
            return None
        host, port, end = found
        if data[1] not in {_CONNECT, _ASSOCIATE}:
            raise HandshakeError(
                "the client wants neither CONNECT nor UDP ASSOCIATE", self._refusal(_COMMAND_UNSUPPORTED)
            )
        self._data = data[end:]
        self._state = "over"
        return Connect(host, port) if data[1] == _CONNECT else Associate()

    @staticmethod
    def _refusal(code: int) -> bytes:
        return bytes((VERSION, code, 0)) + encode_address("0.0.0.0", 0)


def decode_address(data: bytes, at: int) -> tuple[str, int, int] | None:
    """Return host, port and where they end; None where `data` is cut short.

    Raises:
        HandshakeError: the kind of address is unknown, or a name is empty or no ASCII.
    """
    if len(data) <= at:
        return None
    kind = data[at]
    start = at + 1
    if kind == _IPV4:
        end = start + 4
    elif kind == _IPV6:
        end = start + 16
    elif kind == _NAME:
        if len(data) <= start:
            return None
        end = start + 1 + data[start]
    else:
        raise HandshakeError("an address is of an unknown kind")
    if len(data) < end + 2:
        return None
    port = int.from_bytes(data[end : end + 2], "big")
    if kind == _NAME:
        name = data[start + 1 : end]
        if not name or not name.isascii():
            raise HandshakeError("a name is empty, or not of ASCII")
        return name.decode("ascii"), port, end + 2
    return str(ipaddress.ip_address(data[start:end])), port, end + 2


def encode_address(host: str, port: int) -> bytes:
    """Return an address and a port; what is no literal is a name, of ASCII.

    Raises:
        ValueError: a name is too long, or not of ASCII.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.encode("ascii")
        if not 0 < len(name) < 256:
            raise
        return bytes((_NAME, len(name))) + name + port.to_bytes(2, "big")
    return bytes((_IPV4 if address.version == 4 else _IPV6,)) + address.packed + port.to_bytes(2, "big")


def decode_udp(data: bytes) -> tuple[str, int, bytes] | None:
    """Return host, port and payload of a datagram of UDP ASSOCIATE; None where it is a fragment.

    Raises:
        HandshakeError: it is none.
    """
    if len(data) < 4 or data[:2] != b"\x00\x00":
        raise HandshakeError("a datagram has no SOCKS header")
    found = decode_address(data, 3)
    if found is None:
        raise HandshakeError("a datagram is cut short")
    if data[2]:
        return None  # RFC 1928 section 7: who does not put fragments together drops them
    host, port, end = found
    return host, port, data[end:]


def encode_udp(host: str, port: int, payload: bytes) -> bytes:
    """Return a datagram of UDP ASSOCIATE."""
    return b"\x00\x00\x00" + encode_address(host, port) + payload
